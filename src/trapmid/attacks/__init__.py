"""Attacks: the contract, every member, and how one is run."""

from typing import Annotated, Any, get_args

from pydantic import Field

from trapmid.attacks.attack import Attack, Equipped, Found, Run
from trapmid.attacks.gmi import GMI
from trapmid.attacks.inversion import attack, open_found
from trapmid.attacks.kedmi import KEDMI
from trapmid.attacks.lomma import LOMMA
from trapmid.attacks.miface import MIFace
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.plgmi_plus import PLGMIPlus, PLGMIPlusPlus
from trapmid.attacks.public_nearest import PublicNearest

AnyAttack = Annotated[
    GMI | KEDMI | LOMMA | MIFace | PLGMI | PLGMIPlus | PLGMIPlusPlus | PublicNearest, Field(discriminator="kind")
]
ATTACKS: tuple[type[Attack[Any]], ...] = get_args(get_args(AnyAttack)[0])

__all__ = [
    "ATTACKS",
    "GMI",
    "KEDMI",
    "LOMMA",
    "PLGMI",
    "AnyAttack",
    "Attack",
    "Equipped",
    "Found",
    "MIFace",
    "PLGMIPlus",
    "PLGMIPlusPlus",
    "PublicNearest",
    "Run",
    "attack",
    "open_found",
]
