"""Tiny data and networks that checks run on: faces drawn by code at 32 px."""

from functools import cache

from trapmid.augment import WarpAugmentation
from trapmid.data import ImageSet, Split, SplitConfig, SyntheticSource, split
from trapmid.defenses import AdamW, Training
from trapmid.engine import Compute
from trapmid.models import Tiny

CPU = Compute("cpu")
SIZE = 32
NETWORK = Tiny(widths=(8, 16, 32), strides=(2, 2, 2))
"""About 9,000 weights: a training of 16 steps takes a fraction of a second."""


@cache
def private_people(identities: int = 5, images_per_identity: int = 12) -> Split:
    """Private faces and their split, by default 5 x 8 images to train, 5 x 2 to validate, 5 x 2 to test.

    Shared: do not change it.
    """
    images = SyntheticSource(identities=identities, images_per_identity=images_per_identity).load(SIZE)
    return split(images, SplitConfig(val=0.2, test=0.2))


@cache
def public_people(identities: int = 8, images_per_identity: int = 8) -> ImageSet:
    """Faces of people who are in no `private_people`. Shared: do not change it."""
    source = SyntheticSource(identities=identities, images_per_identity=images_per_identity, first_identity=1000)
    return source.load(SIZE)


def quick_training(epochs: int) -> Training:
    """Batches of ten: four steps an epoch on `private_people()`."""
    return Training(
        epochs=epochs,
        batch_size=10,
        optimizer=AdamW(rate=3e-3),
        schedule="one-cycle",
        flip=0.0,
        recalibrate=True,
        augmentation=WarpAugmentation(),
    )
