"""Small sets of drawn faces and trainings that take seconds."""

from functools import cache

from trapmid.augment import WarpAugmentation
from trapmid.data import ImageSet, Split, SplitConfig, SyntheticSource, split
from trapmid.defenses import AdamW, Training
from trapmid.engine import Compute
from trapmid.models import ModelConfig, SmallResNet, Tiny

CPU = Compute("cpu")
TINY = Tiny(widths=(8, 16, 32), strides=(2, 2, 2))
"""About 9,000 weights: a Trap-MID training of 16 steps takes well under a second on one core."""


@cache
def tiny_private(identities: int = 5, images_per_identity: int = 12, size: int = 32, channels: int = 3) -> Split:
    """Private faces 0, 1, ... and their split: with the defaults 5 x 8 train, 5 x 2 val, 5 x 2 test.

    Shared: do not change it.
    """
    images = SyntheticSource(identities=identities, images_per_identity=images_per_identity).load(size, channels)
    return split(images, SplitConfig(val=0.2, test=0.2))


@cache
def tiny_public(identities: int = 8, images_per_identity: int = 8, size: int = 32, channels: int = 3) -> ImageSet:
    """Public faces 1000, 1001, ..., none of whom is in `tiny_private`. Shared: do not change it."""
    return SyntheticSource(identities=identities, images_per_identity=images_per_identity, first_identity=1000).load(
        size, channels
    )


def quick_training(epochs: int = 2, **changes: object) -> Training:
    """Batches of 10, AdamW, warp augmentation: four steps an epoch on `tiny_private()`."""
    values: dict[str, object] = {
        "batch_size": 10,
        "optimizer": AdamW(rate=3e-3),
        "augmentation": WarpAugmentation(),
        "flip": 0.0,
    }
    return Training.model_validate({"epochs": epochs, **values, **changes})


def network_for(defense: str) -> ModelConfig:
    """A small network for a kind of defense: `TINY`, or a residual one if the defense removes skip connections."""
    return SmallResNet(width=8, dropout=0.0) if defense == "rolss" else TINY
