"""The union of all attacks: those of the package and those that other packages add."""

from typing import Annotated, Any, TypeAlias

from trapmid.attacks.attack import Attack
from trapmid.registry import Registry
from trapmid.targets import WhiteBoxTarget

ATTACKS: Registry[Attack[Any, Any]] = Registry(
    Attack,  # type: ignore[type-abstract]
    "attack",
    "trapmid.attacks",
    "trapmid.attacks.members:MEMBERS",
)
"""Every attack by its kind."""


def can_be_wrapped(member: type[Attack[Any, Any]]) -> bool:
    """Whether an adaptive attack can wrap a member.

    It can if the member searches, wraps nothing itself, and white-box access is enough for it.
    """
    return can_be_combined(member) and not member.wraps


def can_be_combined(member: type[Attack[Any, Any]]) -> bool:
    """Whether an attack can run a member beside others and pick from what they find."""
    return member.searches and not member.combines and issubclass(WhiteBoxTarget, member.needs)


BASES = ATTACKS.where(can_be_wrapped, "attack that an adaptive attack can wrap")
"""The attacks that adaptive attacks can wrap."""


def descends(member: type[Attack[Any, Any]]) -> bool:
    """Whether a member can be wrapped and searches with the target's own gradients."""
    return can_be_wrapped(member) and issubclass(member.needs, WhiteBoxTarget)


GRADIENT_BASES = ATTACKS.where(descends, "attack that descends the target's gradients")
"""The attacks that search by gradients of the target."""

COMBINED = ATTACKS.where(can_be_combined, "attack that can be run beside others")
"""The attacks of whose results an attacker can pick the best: wrappers and what they wrap."""

AnyAttack: TypeAlias = Annotated[Attack[Any, Any], ATTACKS]
AnyBase: TypeAlias = Annotated[Attack[Any, Any], BASES]
AnyCombined: TypeAlias = Annotated[Attack[Any, Any], COMBINED]
