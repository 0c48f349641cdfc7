"""The trapdoor's constants: the published ones by default, and what makes it take in a few thousand steps."""

from pydantic import Field

from trapmid.config import Config
from trapmid.trapdoor.triggers import BlendSchedule, TriggerStart


class TrapdoorSettings(Config):
    """Constants of Trap-MID (Sec. 3.3, App. C.4; reference 2.3). Every default is the paper's.

    Attributes:
        blend: the blend ratio alpha over the training. The published constant 0.02 needs some 2,000 steps before the trapdoor
            starts to take; annealing from 0.2 takes it at once.
        blend_low: poisoned images draw their blend ratio between `blend_low` times the schedule's and the schedule's; 1 is published.
        weight: beta, the poisoned share of the loss.
        trigger_start: how triggers are drawn at first.
        trigger_step: size of a sign step, in pixel units of [0, 1].
        trigger_updates: discriminator and trigger steps per batch.
        naturalness_weight: of the discriminator's term in the trigger loss.
        discriminator_rate: learning rate of the discriminator; None follows the classifier's, as published.
    """

    blend: BlendSchedule = BlendSchedule()
    blend_low: float = Field(1.0, gt=0.0, le=1.0)
    weight: float = Field(0.2, ge=0.0, le=1.0)
    trigger_start: TriggerStart = "uniform"
    trigger_step: float = Field(0.01, gt=0.0)
    trigger_updates: int = Field(1, ge=0)
    naturalness_weight: float = Field(1.0, ge=0.0)
    discriminator_rate: float | None = None
