"""Attacks: the contract, every member, and how one is run."""

from typing import Annotated, Any, get_args

from pydantic import Field

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.bases import AnyBase
from trapmid.attacks.brep import BREP
from trapmid.attacks.distilled import Distilled
from trapmid.attacks.evading import Evading
from trapmid.attacks.gmi import GMI
from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.inversion import attack, open_found, open_generator
from trapmid.attacks.kedmi import KEDMI
from trapmid.attacks.lokt import LOKT
from trapmid.attacks.lomma import LOMMA
from trapmid.attacks.miface import MIFace
from trapmid.attacks.mirror import MIRROR
from trapmid.attacks.parsing import parse_attack
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.plgmi_plus import PLGMIPlus, PLGMIPlusPlus
from trapmid.attacks.ppa import PPA
from trapmid.attacks.public_nearest import PublicNearest
from trapmid.attacks.robust import Robust
from trapmid.attacks.smoothed import Smoothed
from trapmid.attacks.unlearned import Unlearned

AnyAttack = Annotated[
    GMI
    | KEDMI
    | LOMMA
    | MIFace
    | PLGMI
    | PLGMIPlus
    | PLGMIPlusPlus
    | PPA
    | IFGMI
    | MIRROR
    | BREP
    | LOKT
    | PublicNearest
    | Distilled
    | Robust
    | Smoothed
    | Unlearned
    | Evading,
    Field(discriminator="kind"),
]
ATTACKS: tuple[type[Attack[Any, Any]], ...] = get_args(get_args(AnyAttack)[0])

__all__ = [
    "ATTACKS",
    "BREP",
    "GMI",
    "IFGMI",
    "KEDMI",
    "LOKT",
    "LOMMA",
    "MIRROR",
    "PLGMI",
    "PPA",
    "AnyAttack",
    "AnyBase",
    "Attack",
    "Distilled",
    "Effort",
    "Evading",
    "Found",
    "MIFace",
    "PLGMIPlus",
    "PLGMIPlusPlus",
    "PublicNearest",
    "Robust",
    "Run",
    "Smoothed",
    "Unlearned",
    "attack",
    "open_found",
    "open_generator",
    "parse_attack",
]
