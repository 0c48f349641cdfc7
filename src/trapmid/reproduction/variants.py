"""The paper's variants of defenses and attacks, each a known member with single values changed; equal to a member, it is that member."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter

from trapmid.attacks import AnyAttack
from trapmid.config import Member
from trapmid.defenses import AnyDefense, parse_defense
from trapmid.recipes import apply_change

DEFENSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ted-0.2": ("ted", ("blend.end=0.2",)),
    "trapmid-fixed": ("trapmid", ("trigger_updates=0",)),
    "trapmid-effect": ("trapmid", ("naturalness_weight=0",)),
    "trapmid-natural": ("trapmid", ("effect_weight=0",)),
    **{f"trapmid-alpha{alpha}": ("trapmid", (f"blend.end={alpha}",)) for alpha in (0.02, 0.03, 0.05, 0.1)},
    **{f"trapmid-beta{beta}": ("trapmid", (f"weight={beta}",)) for beta in (0.02, 0.1, 0.2, 0.5)},
    **{f"trapmid-tuned{alpha}": ("trapmid", (f"blend.end={alpha}", "weight=0.5")) for alpha in (0.005, 0.007, 0.01)},
}
"""Key of a variant: the defense it changes, and how (as `--set` does)."""

M = TypeVar("M", bound=Member)

_defense: TypeAdapter[Any] = TypeAdapter(AnyDefense)
_attack: TypeAdapter[Any] = TypeAdapter(AnyAttack)


def defense_variant(key: str, known: Sequence[AnyDefense]) -> AnyDefense:
    """The defense of a key: a variant of one of `known`, or what `parse_defense` makes of it."""
    base, changes = DEFENSES.get(key, (key, ()))
    return _varied(parse_defense(base, known), key, changes, _defense)


def attack_variant(attack: AnyAttack, label: str, changes: Sequence[str]) -> AnyAttack:
    """The attack with values changed, under a label of its own; the attack itself if that changes nothing."""
    return _varied(attack, label, changes, _attack)


def _varied(member: Any, label: str, changes: Sequence[str], kinds: TypeAdapter[Any]) -> Any:
    values = member.model_dump(mode="json")
    for change in changes:
        apply_change(values, change)
    varied = kinds.validate_python(values)
    return member if varied == member else varied.model_copy(update={"label": label})
