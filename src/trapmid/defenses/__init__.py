"""Defenses: the contract, every member, and the training they all join."""

from typing import Annotated, get_args

from pydantic import Field

from trapmid.defenses.defense import Defense, DefenseRun, Setting
from trapmid.defenses.dropin import Defended
from trapmid.defenses.none import NoDefense
from trapmid.defenses.training import SGD, AdamW, TrainedModel, Training, open_model, train
from trapmid.defenses.trapmid import TrapMID

AnyDefense = Annotated[NoDefense | TrapMID, Field(discriminator="kind")]
DEFENSES: tuple[type[Defense], ...] = get_args(get_args(AnyDefense)[0])

__all__ = [
    "DEFENSES",
    "SGD",
    "AdamW",
    "AnyDefense",
    "Defended",
    "Defense",
    "DefenseRun",
    "NoDefense",
    "Setting",
    "TrainedModel",
    "Training",
    "TrapMID",
    "open_model",
    "train",
]
