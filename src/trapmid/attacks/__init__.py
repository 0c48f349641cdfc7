"""Attacks: the contract, every member, and how one is run."""

from typing import Annotated, Any, get_args

from pydantic import Field

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.brep import BREP
from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.inversion import attack, open_found
from trapmid.attacks.mirror import MIRROR
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.ppa import PPA

AnyAttack = Annotated[PLGMI | PPA | IFGMI | MIRROR | BREP, Field(discriminator="kind")]
ATTACKS: tuple[type[Attack[Any]], ...] = get_args(get_args(AnyAttack)[0])

__all__ = [
    "ATTACKS",
    "BREP",
    "IFGMI",
    "MIRROR",
    "PLGMI",
    "PPA",
    "AnyAttack",
    "Attack",
    "Found",
    "Run",
    "attack",
    "open_found",
]
