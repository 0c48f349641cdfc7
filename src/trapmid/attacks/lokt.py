"""LOKT (Nguyen et al., NeurIPS 2023): surrogates learn from a label-only target and are inverted with gradients.

A target model-assisted ACGAN is trained on public images with the target's labels of generated ones; students of
other architectures that learn generated images as the target labels them, or the GAN's classifier head, stand in for
the target; PLG-MI's search finds latents of the same generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import nn
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Effort, Found, Run, named_by
from trapmid.attacks.distillation import Distillation
from trapmid.attacks.gans import kept, warm_start_of
from trapmid.attacks.margin import TRAINING_AUGMENTATION, MarginSettings
from trapmid.config import AtLeastTwo, Deviation
from trapmid.data.images import ImageSet, to_pixels
from trapmid.engine import generator
from trapmid.models import AnyModel, Zoo
from trapmid.priors import CGAN, GAN, TACGAN, GANConfig, PriorConfig
from trapmid.priors.tacgan import ClassHead
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Images, Labels, Logits, logits_of


@dataclass(frozen=True, eq=False)
class Surrogates:
    """The inputs of the search.

    Attributes:
        gan: the GAN with the generator to search in.
        targets: the surrogates, which are queried instead of the target.
    """

    gan: GAN
    targets: tuple[WhiteBoxTarget, ...]


@final
class LOKT(MarginSettings, Effort, Attack[LabelTarget, Surrogates]):
    """`lokt`: a white-box search by labels alone; the defaults are the constants of the authors' code.

    Attributes:
        prior: the GAN, whose training queries the target.
        warm_start: config of a GAN with a generator of the same shapes, which is trained on the public images without
            the target. Its generator provides the initial weights; None for random weights, as published.
        students: architectures that replace the target together. If there are none, the classifier head of the GAN
            replaces it.
        samples: number of generated images that students learn from, split evenly among the classes except for a
            remainder. Published are 500 of each of 1,000 classes.
        distillation: the settings of their training.
        ensemble: what is averaged over students in the search: `margins`, each of views of its own, as published; or
            `logits` of the same views.
    """

    title: ClassVar[str] = "LOKT"
    paper: ClassVar[str] = "LOKT (Nguyen et al., NeurIPS 2023), Sec. 3-4"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "pictures that students learn from",
            "generated anew from the same latents in every batch",
            "generated once and kept in 8 bits",
            "the same pictures, without another pass of the generator",
        ),
        Deviation(
            "range of the students' input",
            "not known to us",
            "[0, 1]",
            "that of the classifiers in the same code",
        ),
    )
    kind: Literal["lokt"] = "lokt"
    prior: TACGAN = TACGAN()
    warm_start: CGAN | None = None
    students: tuple[AnyModel, ...] = (
        Zoo(name="densenet121", pretrained=True, pixels="unit", pooling="none"),
        Zoo(name="densenet161", pretrained=True, pixels="unit", pooling="none"),
        Zoo(name="densenet169", pretrained=True, pixels="unit", pooling="none"),
    )
    samples: AtLeastTwo = 500_000
    distillation: Distillation = Distillation(
        epochs=200,
        batches=117,
        batch_size=256,
        rate=0.1,
        weight_decay=5e-4,
        schedule="cosine",
        augmentation=TRAINING_AUGMENTATION,
    )
    ensemble: Literal["margins", "logits"] = "margins"

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def own_prior(self) -> GANConfig | None:
        """The GAN."""
        return self.prior

    def prepare(self, target: LabelTarget, public: ImageSet, run: Run) -> Surrogates:
        """Train the GAN, then train the students on generated images."""
        gan = self.prior.fit(
            run.training(public, target, self.kind), target.labels, start=warm_start_of(run, self.name)
        )
        kept(gan, run).freeze()
        surrogates = self._taught(gan, target, run) if self.students else [ClassHead(gan.discriminator)]
        models = [Ensemble(surrogates)] if self.ensemble == "logits" else surrogates
        return Surrogates(gan, tuple(WhiteBoxTarget(one, target.num_classes, target.image_shape) for one in models))

    def invert(self, target: LabelTarget, ready: Surrogates, identities: Labels, run: Run) -> Found:
        """Search on the surrogates. Then query the target once more, to check the labels of the results."""
        first, *others = ready.targets
        found = self.margin_search(self.effort).run(first, ready.gan, identities, run, beside=others)
        return replace(found, confidence=(named_by(target, found.pixels, self.chunk) == found.labels).float())

    def _taught(self, gan: GAN, target: LabelTarget, run: Run) -> list[nn.Module]:
        """Students that are trained on the target's labels of generated images."""
        labels = torch.arange(self.samples) % target.num_classes
        pixels = to_pixels(gan.sample(labels, generator(run.seed, self.kind, "samples")))
        told = named_by(target, pixels, self.chunk)
        names = tuple(map(str, range(target.num_classes)))
        generated = ImageSet(pixels, told, names, ("generated",) * len(pixels))
        answers = F.one_hot(told, target.num_classes).float()
        return [
            self.distillation.teach(student, f"student {number}", generated, answers, target, run)
            for number, student in enumerate(self.students)
        ]


@final
class Ensemble(nn.Module):
    """An ensemble of classifiers, which averages their logits."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Images) -> Logits:
        """The mean logits (n, classes)."""
        return torch.stack([logits_of(member(images)) for member in self.members]).mean(0)
