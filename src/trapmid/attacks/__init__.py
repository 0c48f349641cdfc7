"""Attacks: the interface, all built-in attacks, and functions to run them."""

from trapmid.attacks.aligned import Aligned
from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.brep import BREP
from trapmid.attacks.diffmi import DiffMI
from trapmid.attacks.distilled import Distilled
from trapmid.attacks.evading import Evading
from trapmid.attacks.gmi import GMI
from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.in_memory import invert
from trapmid.attacks.inversion import attack, open_found, open_generator
from trapmid.attacks.kedmi import KEDMI
from trapmid.attacks.lokt import LOKT
from trapmid.attacks.lomma import LOMMA
from trapmid.attacks.miface import MIFace
from trapmid.attacks.mirror import MIRROR
from trapmid.attacks.mirror_whitebox import MIRRORWhiteBox
from trapmid.attacks.parsing import parse_attack
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.plgmi_plus import PLGMIPlus, PLGMIPlusPlus
from trapmid.attacks.ppa import PPA
from trapmid.attacks.ppdg import PPDG
from trapmid.attacks.public_nearest import PublicNearest
from trapmid.attacks.robust import Robust
from trapmid.attacks.smoothed import Smoothed
from trapmid.attacks.strongest import Strongest
from trapmid.attacks.union import ATTACKS, AnyAttack, AnyBase
from trapmid.attacks.unlearned import Unlearned
from trapmid.attacks.wrk import WRK

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
    "PPDG",
    "WRK",
    "Aligned",
    "AnyAttack",
    "AnyBase",
    "Attack",
    "DiffMI",
    "Distilled",
    "Effort",
    "Evading",
    "Found",
    "MIFace",
    "MIRRORWhiteBox",
    "PLGMIPlus",
    "PLGMIPlusPlus",
    "PublicNearest",
    "Robust",
    "Run",
    "Smoothed",
    "Strongest",
    "Unlearned",
    "attack",
    "invert",
    "open_found",
    "open_generator",
    "parse_attack",
]
