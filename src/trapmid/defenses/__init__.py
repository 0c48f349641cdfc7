"""Defenses: the interface, all built-in defenses, and the training that they change."""

from trapmid.defenses.anonymous import Anonymous
from trapmid.defenses.atat import ATAT
from trapmid.defenses.bido import BiDO, balanced_batches
from trapmid.defenses.changes import Changes, Update
from trapmid.defenses.context import TrainingContext, TrainingImages
from trapmid.defenses.defense import Defense, Findings
from trapmid.defenses.dpsgd import DPSGD
from trapmid.defenses.dropin import Defended
from trapmid.defenses.loft import LoFt
from trapmid.defenses.ls import LS
from trapmid.defenses.mid import MID
from trapmid.defenses.midre import MIDRE
from trapmid.defenses.negls import NegLS
from trapmid.defenses.none import NoDefense
from trapmid.defenses.onepass import OnePass
from trapmid.defenses.opening import TrainedModel, open_model
from trapmid.defenses.rolss import RoLSS
from trapmid.defenses.runs import DefenseRun, PlainRun
from trapmid.defenses.stacked import Stacked, parse_defense
from trapmid.defenses.ted import TeD, TeDPlus
from trapmid.defenses.tl import TL
from trapmid.defenses.training import train
from trapmid.defenses.training_settings import SGD, AdamW, Training
from trapmid.defenses.trapmid import TrapMID
from trapmid.defenses.union import DEFENSES, SINGLE_DEFENSES, AnyDefense

__all__ = [
    "ATAT",
    "DEFENSES",
    "DPSGD",
    "LS",
    "MID",
    "MIDRE",
    "SGD",
    "SINGLE_DEFENSES",
    "TL",
    "AdamW",
    "Anonymous",
    "AnyDefense",
    "BiDO",
    "Changes",
    "Defended",
    "Defense",
    "DefenseRun",
    "Findings",
    "LoFt",
    "NegLS",
    "NoDefense",
    "OnePass",
    "PlainRun",
    "RoLSS",
    "Stacked",
    "TeD",
    "TeDPlus",
    "TrainedModel",
    "Training",
    "TrainingContext",
    "TrainingImages",
    "TrapMID",
    "Update",
    "balanced_batches",
    "open_model",
    "parse_defense",
    "train",
]
