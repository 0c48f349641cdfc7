"""LOKT (Nguyen et al., NeurIPS 2023): what a target that only names labels knows is carried over to surrogates, which are inverted with gradients.

From the paper: a target model-assisted ACGAN is trained on public images with the target's labels of generated ones; its classifier
head, or an ensemble of students of other architectures that learn generated images as the target labels them, stands in for the
target; a white-box attack searches the same generator. Assumed here: that attack is PLG-MI's search, an ensemble answers with its mean
logits, students learn by LOMMA's constants, and the number of images they learn from.
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
from trapmid.attacks.margin import SEARCH_AUGMENTATION, MarginSearch
from trapmid.attacks.search import Descent
from trapmid.augment import AnyAugmentation
from trapmid.config import AtLeastTwo, Count, CountOrZero, Rate
from trapmid.data.images import ImageSet, to_pixels
from trapmid.engine import generator
from trapmid.models import AnyModel, Zoo
from trapmid.priors import CGAN, GAN, TACGAN, GANConfig, PriorConfig
from trapmid.priors.tacgan import ClassHead
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Images, Labels, Logits, logits_of


@dataclass(frozen=True, eq=False)
class Surrogates:
    """What the search needs.

    Attributes:
        gan: whose generator is searched.
        target: the surrogates, which are asked in the target's place.
    """

    gan: GAN
    target: WhiteBoxTarget


@final
class LOKT(Attack[LabelTarget, Surrogates]):
    """`lokt`: a white-box search by labels alone; what is not published is PLG-MI's.

    Attributes:
        prior: the GAN that asks the target.
        warm_start: how a GAN, with a generator of the same shapes, is trained on the public images before the target is known, from
            whose generator the attack's starts; None for random weights.
        students: architectures that stand in for the target together; with none, the GAN's classifier head does.
        samples: generated images that students learn from, equally many of each class but for the rest.
        distillation: how they learn.
        search_augmentation: T_atk during the search.
        augmentations: independent draws that a search step sums over.
        candidates: random latents per identity, of which those for which the target is most confident start the search; up to
            `images_per_identity`, as published, there is no choice.
        search_steps: of the optimiser.
        search_rate: learning rate of the optimiser.
        images_per_identity: searches per identity, from independent starts.
        identities_per_batch: identities that are searched at once; 0 for all.
        chunk: images that are decoded at once. It bounds memory.
    """

    title: ClassVar[str] = "LOKT"
    paper: ClassVar[str] = "LOKT (Nguyen et al., NeurIPS 2023), Sec. 3-4"
    kind: Literal["lokt"] = "lokt"
    prior: TACGAN = TACGAN()
    warm_start: CGAN | None = None
    students: tuple[AnyModel, ...] = (
        Zoo(name="densenet121"),
        Zoo(name="densenet161"),
        Zoo(name="densenet169"),
    )
    samples: AtLeastTwo = 30_000
    distillation: Distillation = Distillation()
    search_augmentation: AnyAugmentation = SEARCH_AUGMENTATION
    augmentations: Count = 2
    candidates: Count = 5
    search_steps: Count = 600
    search_rate: Rate = 0.1
    images_per_identity: Count = 5
    identities_per_batch: CountOrZero = 0
    chunk: Count = 100

    @property
    def effort(self) -> Effort:
        """How many images of each identity the attack makes, and how many at once."""
        return Effort(
            images_per_identity=self.images_per_identity,
            identities_per_batch=self.identities_per_batch,
            chunk=self.chunk,
        )

    @property
    def search(self) -> MarginSearch:
        """The search, with these settings."""
        descent = Descent(self.kind, self.search_steps, self.search_rate, self.chunk)
        return MarginSearch(
            descent, self.images_per_identity, self.search_augmentation, self.augmentations, self.candidates
        )

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def own_prior(self) -> GANConfig | None:
        """The GAN."""
        return self.prior

    def prepare(self, target: LabelTarget, public: ImageSet, run: Run) -> Surrogates:
        """Train the GAN, then the students on what it generates."""
        gan = self.prior.fit(
            run.training(public, target, self.kind), target.labels, start=warm_start_of(run, self.name)
        )
        kept(gan, run).freeze()
        surrogates = self._taught(gan, target, run) if self.students else [ClassHead(gan.discriminator)]
        return Surrogates(gan, WhiteBoxTarget(Ensemble(surrogates), target.num_classes, target.image_shape))

    def invert(self, target: LabelTarget, ready: Surrogates, identities: Labels, run: Run) -> Found:
        """Search on the surrogates; the target is asked once more, whether it names who was meant."""
        found = self.search.run(ready.target, ready.gan, identities, run)
        return replace(found, confidence=(named_by(target, found.pixels, self.chunk) == found.labels).float())

    def _taught(self, gan: GAN, target: LabelTarget, run: Run) -> list[nn.Module]:
        """Students of what the target calls generated images."""
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
    """Several classifiers as one, by the mean of their logits."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Images) -> Logits:
        """(n, classes)."""
        return torch.stack([logits_of(member(images)) for member in self.members]).mean(0)
