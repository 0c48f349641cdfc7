"""Attacks: the contract, every member, and how one is run."""

from typing import Annotated, Any, get_args

from pydantic import Field

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.bases import AnyBase
from trapmid.attacks.brep import BREP
from trapmid.attacks.distilled import Distilled
from trapmid.attacks.evading import Evading
from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.inversion import attack, open_found
from trapmid.attacks.mirror import MIRROR
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.ppa import PPA
from trapmid.attacks.robust import Robust
from trapmid.attacks.smoothed import Smoothed
from trapmid.attacks.unlearned import Unlearned

AnyAttack = Annotated[
    PLGMI | PPA | IFGMI | MIRROR | BREP | Distilled | Robust | Smoothed | Unlearned | Evading,
    Field(discriminator="kind"),
]
ATTACKS: tuple[type[Attack[Any]], ...] = get_args(get_args(AnyAttack)[0])

__all__ = [
    "ATTACKS",
    "BREP",
    "IFGMI",
    "MIRROR",
    "PLGMI",
    "PPA",
    "AnyAttack",
    "AnyBase",
    "Attack",
    "Distilled",
    "Evading",
    "Found",
    "Robust",
    "Run",
    "Smoothed",
    "Unlearned",
    "attack",
    "open_found",
]
