"""The union of all defenses: those of the package and those that other packages add."""

from typing import Annotated, TypeAlias

from trapmid.defenses.defense import Defense
from trapmid.registry import Registry, kind_of

STACKED = "stacked"
"""The kind of a defense that consists of others."""

DEFENSES: Registry[Defense] = Registry(
    Defense,  # type: ignore[type-abstract]
    "defense",
    "trapmid.defenses",
    "trapmid.defenses.members:MEMBERS",
)
"""Every defense by its kind."""

SINGLE_DEFENSES = DEFENSES.where(lambda member: kind_of(member) != STACKED, "defense that can be part of a stack")
"""Every defense but `stacked`."""

AnyDefense: TypeAlias = Annotated[Defense, DEFENSES]
SingleDefense: TypeAlias = Annotated[Defense, SINGLE_DEFENSES]
