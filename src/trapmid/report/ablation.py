"""Finds ablations in a list of defenses: members that differ in one number only."""

from collections.abc import Iterable, Iterator
from typing import Any

from trapmid.config import Member
from trapmid.report.contents import Ablation

FEWEST = 3
"""The fewest values that are drawn as a curve. The tables suffice to compare two."""


def ablations(members: Iterable[Member]) -> list[Ablation]:
    """Every setting that was tried with at least `FEWEST` values while all else was equal."""
    tried: dict[tuple[str, str, tuple[tuple[str, Any], ...]], dict[float, str]] = {}
    titles: dict[str, str] = {}
    for member in members:
        leaves = dict(_leaves(member.model_dump(mode="json", exclude={"label"})))
        titles[member.kind] = member.title
        for setting, value in leaves.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            others = tuple(sorted((path, repr(leaf)) for path, leaf in leaves.items() if path != setting))
            tried.setdefault((leaves["kind"], setting, others), {})[float(value)] = member.name
    return [
        Ablation(kind=titles[kind], setting=setting, defenses=dict(sorted(by_value.items())))
        for (kind, setting, _), by_value in tried.items()
        if len(by_value) >= FEWEST
    ]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings and lists by their dotted paths."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield path, value
        return
    for key, part in parts:
        yield from _leaves(part, f"{path}.{key}" if path else str(key))
