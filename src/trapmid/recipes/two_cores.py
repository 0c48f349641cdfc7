"""What the recipes for two cores share: trainings, a judge and an attack that take minutes."""

from trapmid.attacks import PLGMI
from trapmid.augment import WarpAugmentation
from trapmid.defenses import AdamW, Training
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.models import SmallResNet, Tiny
from trapmid.priors import CGAN

LIGHT_DISCRIMINATOR = Tiny(widths=(16, 32, 64, 64))
"""Of triggers, and of LOKT's generator: a quarter of the classifier's work."""

OF_ATTACK = WarpAugmentation.model_validate(PLGMI().augmentation.model_dump(exclude={"kind", "crop_ratio"}))
"""PLG-MI's published augmentation, as a single warp."""


def training(epochs: int, augmentation: WarpAugmentation, evaluate_every: int) -> Training:
    """A classifier's, defended or not; the last weights count, so that no epoch is chosen."""
    return Training(
        epochs=epochs,
        batch_size=32,
        optimizer=AdamW(),
        schedule="one-cycle",
        augmentation=augmentation,
        keep="last",
        recalibrate=True,
        evaluate_every=evaluate_every,
    )


def judge(augmentation: WarpAugmentation, batch_size: int) -> EvaluationClassifier:
    """A residual network that nobody attacks."""
    return EvaluationClassifier(
        model=SmallResNet(),
        training=Training(
            epochs=30,
            batch_size=batch_size,
            optimizer=AdamW(rate=2e-3),
            schedule="one-cycle",
            augmentation=augmentation,
            keep="last",
            evaluate_every=10,
        ),
    )


def plgmi(warm_start: CGAN, iterations: int, search_steps: int) -> PLGMI:
    """PLG-MI that goes on from a prior of the public images instead of 30,000 iterations.

    Args:
        warm_start: trained once, whatever is attacked.
        iterations: with the target's help.
        search_steps: of the latents.
    """
    return PLGMI(
        warm_start=warm_start,
        prior=warm_start.model_copy(update={"iterations": iterations}),
        augmentation=OF_ATTACK,
        search_augmentation=OF_ATTACK.model_copy(update={"jitter_probability": 1.0}),
        candidates=20,
        search_steps=search_steps,
        search_rate=0.05,
    )
