"""What the tests of priors, attacks and metrics share: tiny images, a tiny target, every attack tiny, and a way to kill a run."""

from functools import cache
from typing import Any

import torch
from torch.nn import functional as F

from trapmid.attacks import GMI, KEDMI, LOMMA, PLGMI, Attack, MIFace, PLGMIPlus, PLGMIPlusPlus, PublicNearest
from trapmid.attacks.distillation import Distillation
from trapmid.augment import WarpAugmentation
from trapmid.data import ImageSet, SyntheticSource
from trapmid.engine import Compute, randomness
from trapmid.models import Classifier, Tiny
from trapmid.priors import CGAN, DCGAN, Prior, SemiGAN, Strided
from trapmid.targets import InformedTarget, LabelTarget, WhiteBoxTarget
from trapmid.types import logits_of

SIZE, CLASSES, PER_IDENTITY = 32, 4, 2
CPU = Compute("cpu")
TINY = Tiny(widths=(16, 32), strides=(2, 2))
WARP = WarpAugmentation(
    crop_probability=1.0,
    brightness=0.2,
    contrast=0.2,
    jitter_probability=0.5,
    rotation_degrees=5.0,
    rotation_probability=1.0,
)
TINY_GAN = CGAN(
    networks=Strided(width=4, widest=16, latent_size=16),
    iterations=12,
    batch_size=8,
    discriminator_steps=1,
    rate=2e-3,
    log_every=4,
    ema=0.5,
)
PLGMI_TINY = PLGMI(
    prior=TINY_GAN,
    top_n=6,
    augmentation=WARP,
    search_augmentation=WARP,
    augmentations=1,
    images_per_identity=PER_IDENTITY,
    candidates=3,
    search_steps=12,
    search_rate=0.2,
    identities_per_batch=3,
    chunk=4,
)
TINY_DCGAN = DCGAN(
    width=4, latent_size=16, iterations=12, batch_size=8, discriminator_steps=1, rate=2e-3, log_every=4, ema=0.5
)
TINY_SEMIGAN = SemiGAN(
    width=4, latent_size=16, iterations=12, batch_size=8, discriminator_steps=1, rate=2e-3, log_every=4, ema=0.5
)
SEARCH: dict[str, Any] = {
    "images_per_identity": PER_IDENTITY,
    "search_steps": 12,
    "identities_per_batch": 3,
    "chunk": 4,
}
GMI_TINY = GMI(prior=TINY_DCGAN, search_rate=0.02, **SEARCH)
KEDMI_TINY = KEDMI(prior=TINY_SEMIGAN, search_rate=0.3, **SEARCH)
TINY_ATTACKS: dict[str, Attack[Any]] = {
    "gmi": GMI_TINY,
    "kedmi": KEDMI_TINY,
    "lomma": LOMMA(
        base=GMI_TINY,
        students=(Tiny(widths=(4, 8), strides=(2, 2)),),
        distillation=Distillation(epochs=2, batch_size=8),
    ),
    "miface": MIFace(start_noise=0.3, search_rate=2.0, **SEARCH),
    "plgmi": PLGMI_TINY,
    "plgmi+": PLGMIPlus.model_validate(PLGMI_TINY.model_dump(exclude={"kind"})),
    "plgmi++": PLGMIPlusPlus.model_validate(PLGMI_TINY.model_dump(exclude={"kind"})),
    "public-nearest": PublicNearest(images_per_identity=PER_IDENTITY),
}
"""One small setting for every member of the union; the contract test fails for a member that has none."""

STAGES: dict[str, tuple[tuple[str, int], ...]] = {
    "gmi": (("search", 11),),
    "kedmi": (("gan", 11), ("search", 11)),
    "lomma": (("student", 7), ("search", 11)),
    "miface": (("search", 11),),
    "plgmi": (("gan", 1), ("gan", 8), ("gan", 11), ("search", 1), ("search", 10), ("search", 11)),
    "plgmi+": (("search", 11),),
    "plgmi++": (("search", 11),),
    "public-nearest": (),
}
"""Where each is killed: part of a task's name, and how many of its steps are done."""


def faces(identities: int, each: int, *, first: int = 0, size: int = SIZE, channels: int = 3) -> ImageSet:
    """Drawn faces; ranges of `first` that do not overlap share nobody."""
    return SyntheticSource(identities=identities, images_per_identity=each, first_identity=first).load(
        size, 1 if channels == 1 else 3
    )


def trained_classifier(images: ImageSet, steps: int = 40) -> Classifier:
    """A `tiny` that has learnt `images` well enough to have opinions; in eval mode."""
    with randomness(0, "tiny target"):
        model = TINY.build(len(images.identities), images.image_size, images.channels)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(logits_of(model(images.images())), images.labels).backward()
            optimizer.step()
    return model.eval()


def target_of(model: Classifier) -> WhiteBoxTarget:
    """White-box access with a fresh count of queries."""
    return WhiteBoxTarget(model, model.num_classes, (model.channels, model.image_size, model.image_size))


def target_for(method: Attack[Any], model: Classifier) -> LabelTarget:
    """As much access as an attack needs, with a fresh count of queries and made-up signatures."""
    shape = (model.channels, model.image_size, model.image_size)
    if method.needs is not InformedTarget:
        return method.needs(model, model.num_classes, shape)
    rng = torch.Generator().manual_seed(0)
    signatures = F.normalize(torch.rand(model.num_classes, model.head.in_features, generator=rng), dim=1)  # type: ignore[union-attr]
    return InformedTarget(model, model.num_classes, shape, signatures)


@cache
def prior_of(method: Attack[Any], public: ImageSet) -> Prior | None:
    """What an attack wants trained before, trained."""
    wanted = method.public_prior()
    return None if wanted is None else wanted.fit(public, CLASSES, seed=0, compute=CPU)


class Killed(Exception):  # noqa: N818
    """Stands for a kill: nothing in the package catches it."""


class KillAt:
    """A progress display that kills the run once the task whose name contains `task` has done `done` steps."""

    def __init__(self, task: str, done: int) -> None:
        self.task, self.done = task, done

    def __call__(self, task: str, done: int, total: int | None, note: str) -> None:
        """Told after every step."""
        if self.task in task and done == self.done:
            raise Killed(task)
