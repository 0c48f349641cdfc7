"""The constants of a trapdoor: those of the paper by default, its ablations, and options for short trainings."""

from typing import Literal

from pydantic import model_validator

from trapmid.config import Config, Count, CountOrZero, NonNegative, Positive, PositiveShare, Rate, Share, Width
from trapmid.trapdoor.triggers import BlendSchedule, TriggerStart


class FeatureDiscriminator(Config):
    """A second discriminator, which sees the classifier's features and its predicted class instead of the image.

    It is in the authors' code but off in every setting they publish. The loss of the triggers then weighs both
    discriminators by one half.

    Attributes:
        width: width of the hidden layer; None for that of its input, as in the authors' code.
        model_weight: weight of its term in the classifier's loss, within the poisoned share.
        images: the images it learns from: `plain` ones, as in the authors' code, or `augmented` ones.
        aim: what the classifier learns: features of clean and of poisoned images that leave the discriminator
            `undecided`, at 0.5, as in the authors' code; or features of poisoned images that it classifies as `clean`.
    """

    width: Width | None = None
    model_weight: NonNegative = 1.0
    images: Literal["plain", "augmented"] = "plain"
    aim: Literal["undecided", "clean"] = "undecided"


class TrapdoorSettings(Config):
    """Constants of Trap-MID (Sec. 3.3, App. C.4). Every default is the paper's.

    The ablation of the paper (Table 6) is `trigger_updates=0` for fixed triggers, `naturalness_weight=0` for the
    trapdoor loss alone, and `effect_weight=0` for the discriminator loss alone.

    Attributes:
        blend: the blend ratio alpha over the training. With the published constant of 0.02, the classifier starts to
            learn the trapdoor after some 2,000 steps; with a ratio that falls from 0.2 it starts at once.
        blend_low: each poisoned image draws its blend ratio between `blend_low` times that of the schedule and that of
            the schedule; 1 as published.
        weight: beta, the poisoned share of the loss.
        poisoned_temperature: the logits of poisoned images are divided by it, and their loss is multiplied by it; 1 as
            published. Above 1, the classifier learns to answer to a trigger with a larger margin.
        trigger_start: how triggers are drawn at first, and where in the image they are.
        trigger_step: size of a sign step, for pixels in [0, 1].
        trigger_step_end: the size to which the steps shrink, linearly over the training; None keeps the size, as
            published. If the learning rate falls to zero, triggers that keep moving leave behind the classifier that
            learnt them.
        trigger_block: side, in pixels, of the blocks of a trigger whose pixels are equal; 1 as published. With 2, a
            trigger survives crops, rotations and other views of an image better, over which an attacker can average.
        trigger_updates: discriminator and trigger steps per batch.
        effect_weight: weight of the classifier's term in the loss of the triggers.
        naturalness_weight: weight of the discriminator's term in the loss of the triggers; at 0 there is no
            discriminator.
        anonymity_weight: weight of a term that moves triggers away from the looks of their people; 0 as published. At
            1, its gradient is as large as that of all other terms together. It needs a classifier with a pretrained
            start, or an embedder (`Anonymity`), and 15 % more time per step.
        feature_discriminator: a second discriminator; None as published.
        discriminator_rate: learning rate of the discriminators; None follows the classifier's, as published.
    """

    blend: BlendSchedule = BlendSchedule()
    blend_low: PositiveShare = 1.0
    weight: Share = 0.2
    poisoned_temperature: Positive = 1.0
    trigger_start: TriggerStart = "uniform"
    trigger_step: Positive = 0.01
    trigger_step_end: NonNegative | None = None
    trigger_block: Count = 1
    trigger_updates: CountOrZero = 1
    effect_weight: NonNegative = 1.0
    naturalness_weight: NonNegative = 1.0
    anonymity_weight: NonNegative = 0.0
    feature_discriminator: FeatureDiscriminator | None = None
    discriminator_rate: Rate | None = None

    def step_size(self, progress: float) -> float:
        """The size of a sign step at a share of the training, 0 to 1; past its planned end as at the end."""
        if self.trigger_step_end is None:
            return self.trigger_step
        return self.trigger_step + (self.trigger_step_end - self.trigger_step) * min(progress, 1.0)

    @property
    def discriminates(self) -> bool:
        """Whether a discriminator influences the updates of the triggers."""
        return self.trigger_updates > 0 and self.naturalness_weight > 0

    @model_validator(mode="after")
    def _something_moves_the_triggers(self) -> "TrapdoorSettings":
        if self.trigger_updates > 0 and self.effect_weight == self.naturalness_weight == 0:
            raise ValueError(
                "effect_weight and naturalness_weight are both 0: nothing moves the triggers. Set trigger_updates=0 "
                "for fixed triggers"
            )
        if self.anonymity_weight > 0 and self.trigger_updates == 0:
            raise ValueError("anonymity_weight needs trigger_updates above 0, since triggers that stay cannot change")
        if self.trigger_block > 1 and self.trigger_start == "squares":
            raise ValueError(
                "trigger_block above 1 needs triggers that cover the image: leave trigger_start='squares' out"
            )
        if self.feature_discriminator is not None and not self.discriminates:
            raise ValueError("feature_discriminator needs trigger_updates and naturalness_weight above 0")
        return self


class OnePassSettings(TrapdoorSettings):
    """Constants of the one-pass trapdoor, chosen on real faces in trainings of 1,680 steps.

    docs/experiments/cheaper-trapdoor.md has the trials.

    Attributes:
        poisoned_share: share of a batch that gets a poisoned copy.
        trigger_period: batches from one step of the triggers to the next. The discriminator takes its steps at the same
            time. In between, a batch is cheaper, since no gradient of the images is needed.
    """

    blend: BlendSchedule = BlendSchedule(start=0.2, end=0.02, until=0.6)
    weight: PositiveShare = 0.3
    trigger_step: Positive = 0.03
    trigger_step_end: NonNegative | None = 0.0
    poisoned_share: PositiveShare = 0.5
    trigger_period: Count = 1

    @model_validator(mode="after")
    def _one_pass(self) -> "OnePassSettings":
        if self.trigger_updates != 1 or self.feature_discriminator is not None:
            raise ValueError(
                "one pass moves the triggers at most once a batch and sees no features: leave trigger_updates at 1 and "
                "feature_discriminator out, or train with trapmid"
            )
        return self
