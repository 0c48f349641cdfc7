"""Parts that the recipes for two cores share: trainings, a judge and an attack that take minutes."""

from trapmid.attacks import PLGMI
from trapmid.augment import WarpAugmentation
from trapmid.defenses import AdamW, Training
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.models import SmallResNet, Tiny
from trapmid.priors import CGAN

LIGHT_DISCRIMINATOR = Tiny(widths=(16, 32, 64, 64))
"""The discriminator for triggers and for LOKT's generator. It takes a quarter of the classifier's computation."""

OF_ATTACK = WarpAugmentation.model_validate(
    PLGMI().augmentation.model_dump(exclude={"kind", "crop_ratio", "one_draw"}) | {"rotation_probability": 1.0}
)
"""PLG-MI's published augmentation as a single warp, which rotates every image and not half of them."""


def training(epochs: int, augmentation: WarpAugmentation, evaluate_every: int, batch_size: int = 32) -> Training:
    """The training of a classifier. It keeps the last weights, so that no epoch is chosen by its accuracy."""
    return Training(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=AdamW(),
        schedule="one-cycle",
        flip=0.0,
        augmentation=augmentation,
        keep="last",
        recalibrate=True,
        evaluate_every=evaluate_every,
    )


def judge(augmentation: WarpAugmentation, batch_size: int, epochs: int = 30) -> EvaluationClassifier:
    """The evaluation classifier: a residual network with its own training, which is not attacked."""
    return EvaluationClassifier(
        model=SmallResNet(),
        training=Training(
            epochs=epochs,
            batch_size=batch_size,
            optimizer=AdamW(rate=2e-3),
            schedule="one-cycle",
            flip=0.0,
            augmentation=augmentation,
            keep="last",
            evaluate_every=10,
        ),
    )


def plgmi(warm_start: CGAN, iterations: int, search_steps: int) -> PLGMI:
    """PLG-MI that starts from a prior of the public images and so needs far fewer than the published 30,000 iterations.

    Args:
        warm_start: the prior, which is trained once for all models.
        iterations: iterations of training under the guidance of the model under attack.
        search_steps: steps of the search for latents.
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
