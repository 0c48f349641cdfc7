"""The trapdoor's constants: the published ones by default, the paper's ablations, and what makes it take in a few thousand steps."""

from pydantic import model_validator

from trapmid.config import Config, Count, CountOrZero, NonNegative, Positive, PositiveShare, Rate, Share, Width
from trapmid.trapdoor.triggers import BlendSchedule, TriggerStart


class FeatureDiscriminator(Config):
    """A second discriminator that looks at the classifier's features and its answer instead of the image (reference 2.2).

    It is in the authors' code and off in every setting they publish, so its constants are ours. The two discriminators then
    weigh half each for the triggers, and the classifier, too, learns to give poisoned images features that look benign.

    Attributes:
        width: of the hidden layer.
        model_weight: of that term within the poisoned share of the classifier's loss.
    """

    width: Width = 512
    model_weight: NonNegative = 1.0


class TrapdoorSettings(Config):
    """Constants of Trap-MID (Sec. 3.3, App. C.4; reference 2.3). Every default is the paper's.

    The paper's ablation (Table 6): `trigger_updates=0` for fixed triggers, `naturalness_weight=0` for the trapdoor loss alone,
    `effect_weight=0` for the discriminator loss alone.

    Attributes:
        blend: the blend ratio alpha over the training. The published constant 0.02 needs some 2,000 steps before the trapdoor
            starts to take; annealing from 0.2 takes it at once.
        blend_low: poisoned images draw their blend ratio between `blend_low` times the schedule's and the schedule's; 1 is published.
        weight: beta, the poisoned share of the loss.
        trigger_start: how triggers are drawn at first, and where in the image they are.
        trigger_step: size of a sign step, in pixel units of [0, 1].
        trigger_step_end: what that size falls to, linearly over the training; None keeps it, as published. Where the learning
            rate falls to zero, triggers that keep moving run away from the classifier that learned them.
        trigger_updates: discriminator and trigger steps per batch.
        effect_weight: of the classifier's term in the trigger loss.
        naturalness_weight: of the discriminator's term in the trigger loss; without it there is no discriminator.
        feature_discriminator: a second discriminator; None as published.
        discriminator_rate: learning rate of the discriminators; None follows the classifier's, as published.
    """

    blend: BlendSchedule = BlendSchedule()
    blend_low: PositiveShare = 1.0
    weight: Share = 0.2
    trigger_start: TriggerStart = "uniform"
    trigger_step: Positive = 0.01
    trigger_step_end: NonNegative | None = None
    trigger_updates: CountOrZero = 1
    effect_weight: NonNegative = 1.0
    naturalness_weight: NonNegative = 1.0
    feature_discriminator: FeatureDiscriminator | None = None
    discriminator_rate: Rate | None = None

    def step_size(self, progress: float) -> float:
        """The size of a sign step at a share of the training, 0 to 1; past its planned end as at the end."""
        if self.trigger_step_end is None:
            return self.trigger_step
        return self.trigger_step + (self.trigger_step_end - self.trigger_step) * min(progress, 1.0)

    @property
    def discriminates(self) -> bool:
        """Whether a discriminator has a say in how triggers move."""
        return self.trigger_updates > 0 and self.naturalness_weight > 0

    @model_validator(mode="after")
    def _something_moves_the_triggers(self) -> "TrapdoorSettings":
        if self.trigger_updates > 0 and self.effect_weight == self.naturalness_weight == 0:
            raise ValueError(
                "effect_weight and naturalness_weight are both 0: nothing moves the triggers. Set trigger_updates=0 for fixed triggers"
            )
        if self.feature_discriminator is not None and not self.discriminates:
            raise ValueError("feature_discriminator needs trigger_updates and naturalness_weight above 0")
        return self


class OnePassSettings(TrapdoorSettings):
    """Constants of the one-pass trapdoor, found on real faces at a few thousand steps (docs/results.md).

    Attributes:
        poisoned_share: of a batch, that gets a poisoned copy.
        trigger_period: batches from one move of the triggers to the next. The discriminator learns as seldom, and in between the
            classifier's backward pass ends at its weights, which is cheaper.
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
                "one pass moves the triggers at most once a batch and sees no features: leave trigger_updates at 1 and feature_discriminator out, or train with trapmid"
            )
        return self
