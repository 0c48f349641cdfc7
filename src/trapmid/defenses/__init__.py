"""Defenses: the contract, every member, and the training they all join."""

from typing import get_args

from trapmid.defenses.bido import BiDO
from trapmid.defenses.defense import Defense, DefenseRun, Modifier, Setting
from trapmid.defenses.dpsgd import DPSGD
from trapmid.defenses.dropin import Defended
from trapmid.defenses.ls import LS
from trapmid.defenses.mid import MID
from trapmid.defenses.midre import MIDRE
from trapmid.defenses.negls import NegLS
from trapmid.defenses.none import NoDefense
from trapmid.defenses.onepass import OnePass
from trapmid.defenses.opening import TrainedModel, open_model
from trapmid.defenses.rolss import RoLSS
from trapmid.defenses.stacked import AnyDefense, Stacked, parse_defense
from trapmid.defenses.ted import TeD, TeDPlus
from trapmid.defenses.tl import TL
from trapmid.defenses.training import SGD, AdamW, Training, train
from trapmid.defenses.trapmid import TrapMID

DEFENSES: tuple[type[Defense], ...] = get_args(get_args(AnyDefense)[0])

__all__ = [
    "DEFENSES",
    "DPSGD",
    "LS",
    "MID",
    "MIDRE",
    "SGD",
    "TL",
    "AdamW",
    "AnyDefense",
    "BiDO",
    "Defended",
    "Defense",
    "DefenseRun",
    "Modifier",
    "NegLS",
    "NoDefense",
    "OnePass",
    "RoLSS",
    "Setting",
    "Stacked",
    "TeD",
    "TeDPlus",
    "TrainedModel",
    "Training",
    "TrapMID",
    "open_model",
    "parse_defense",
    "train",
]
