"""The paper's variants of defenses and attacks. Each is a known defense or attack with some values changed."""

from collections.abc import Sequence
from typing import TypeVar

from trapmid.attacks import AnyAttack
from trapmid.config import Member
from trapmid.defenses import Defense, parse_defense
from trapmid.recipes import changed

DEFENSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ted-0.2": ("ted", ("blend.end=0.2",)),
    "trapmid-fixed": ("trapmid", ("trigger_updates=0",)),
    "trapmid-effect": ("trapmid", ("naturalness_weight=0",)),
    "trapmid-natural": ("trapmid", ("effect_weight=0",)),
    **{f"trapmid-alpha{alpha}": ("trapmid", (f"blend.end={alpha}",)) for alpha in (0.02, 0.03, 0.05, 0.1)},
    **{f"trapmid-beta{beta}": ("trapmid", (f"weight={beta}",)) for beta in (0.02, 0.1, 0.2, 0.5)},
    **{f"trapmid-tuned{alpha}": ("trapmid", (f"blend.end={alpha}", "weight=0.5")) for alpha in (0.005, 0.007, 0.01)},
}
"""Maps the key of a variant to the defense that it changes, and to the changes in the syntax of `--set`."""

M = TypeVar("M", bound=Member)


def defense_variant(key: str, known: Sequence[Defense]) -> Defense:
    """The defense of a key: a variant from `DEFENSES`, or else the defense that `parse_defense` finds for it."""
    base, changes = DEFENSES.get(key, (key, ()))
    return _varied(parse_defense(base, known), key, changes)


def attack_variant(attack: AnyAttack, label: str, changes: Sequence[str]) -> AnyAttack:
    """The attack with some values changed, under a new label. If nothing changes, it is the attack itself."""
    return _varied(attack, label, changes)


def _varied(member: M, label: str, changes: Sequence[str]) -> M:
    varied = changed(member, changes) if changes else member
    return member if varied == member else varied.model_copy(update={"label": label})
