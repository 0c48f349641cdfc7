"""What metrics are computed from.

It is models, images and what judges say about them, samples of generators, finished attacks. Each value that costs time
is computed when a metric first asks for it, and once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, TypeAlias, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trapmid.artifacts import Manifest
from trapmid.data.splits import Split
from trapmid.defenses import TrainedModel
from trapmid.defenses.opening import logits_on
from trapmid.engine import Compute, generator, randomness
from trapmid.metrics.accuracy import Acceptance, rank_of_label
from trapmid.metrics.calibrated import CalibratedJudge
from trapmid.metrics.controls import Named, named_first
from trapmid.metrics.judges import Judge, Opinion, check_independent
from trapmid.metrics.manifold import manifold
from trapmid.metrics.metric import Evidence, Subject
from trapmid.metrics.robustness import APGD
from trapmid.metrics.theorem import Effectiveness, trapdoor_delta
from trapmid.priors import Prior
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.secrets import trapdoor_success
from trapmid.types import Features, Images, Labels, Logits, Pixels

PrivateFeatures: TypeAlias = Float[Tensor, "m features"]

TRIGGER_DRAWS = 5
"""How often the images that triggers are blended into are drawn anew, for the success of a trapdoor."""


@final
@dataclass(frozen=True, eq=False)
class Model(Evidence):
    """A trained classifier.

    Attributes:
        model: the classifier and its manifest.
        private: the private images; metrics of a model use the test split.
        secrets: the triggers of its trapdoor; None if it has none.
        judges: must not share architecture or weights with it.
        robustness: how small perturbations are searched; None leaves them out.
        compute: device and precision of what metrics train.
        differentiable: whether gradients pass through the classifier. One behind an address only answers.

    Raises:
        UserError: a judge is not independent of the model.
    """

    subject: ClassVar[Subject] = "model"
    model: TrainedModel
    private: Split
    secrets: Secrets | None = None
    judges: Sequence[Judge] = ()
    robustness: APGD | None = None
    compute: Compute = field(default_factory=Compute)
    differentiable: bool = True

    def __post_init__(self) -> None:
        """Refuse a judge that the model's weaknesses would fool, too."""
        for judge in self.judges:
            check_independent(judge, self.model.classifier, self.model.manifest.recipe.get("model"))

    @property
    def device(self) -> torch.device:
        """Where the classifier is."""
        return next((p.device for p in self.model.classifier.parameters()), torch.device("cpu"))

    @cached_property
    def logits(self) -> Logits:
        """Logits of the private test images, (n, identities), on the CPU."""
        return logits_on(self.model.classifier, self.private.part("test"))

    @cached_property
    def sample(self) -> Labels:
        """(m,): rows of the test images that gradients and small perturbations are tried on, drawn at random."""
        n = (self.robustness or APGD()).images
        return torch.randperm(len(self.private.part("test")), generator=generator(0, "robustness", "images"))[:n]

    @property
    def sampled(self) -> tuple[Images, Labels]:
        """The images (m, c, h, w) and labels (m,) of `sample`, on the classifier's device."""
        test = self.private.part("test")
        return test.images(self.sample).to(self.device), test.labels[self.sample].to(self.device)

    @cached_property
    def trapdoor(self) -> tuple[tuple[float, ...], Effectiveness] | None:
        """Of a trapdoor its success in each of `TRIGGER_DRAWS` draws of images, and its effectiveness.

        The effectiveness is what Definition 1 of the Trap-MID paper compares.
        """
        if self.secrets is None:
            return None
        test = self.private.part("test")
        images = test.images().to(self.device)
        with randomness(0, "measure", device=images.device):  # a model may draw random numbers when it answers
            rates = tuple(
                trapdoor_success(self.model.classifier, self.secrets, images, generator(draw, "trapdoor success"))
                for draw in range(TRIGGER_DRAWS)
            )
            return rates, trapdoor_delta(self.model.classifier, self.secrets, test)


@final
@dataclass(frozen=True, eq=False)
class Judgement:
    """What one judge says about images that are meant to show identities.

    Attributes:
        calibrated: the judge.
        labels: (n,), whom the images are meant to show.
        ask: asks the judge.
    """

    calibrated: CalibratedJudge
    labels: Labels
    ask: Callable[[], Opinion]

    @property
    def judge(self) -> str:
        """The judge's name."""
        return self.calibrated.judge.name

    @property
    def acceptance(self) -> Acceptance:
        """What the judge was calibrated on."""
        return self.calibrated.acceptance

    @cached_property
    def opinion(self) -> Opinion:
        """Scores of every identity, and features."""
        return self.ask()

    @cached_property
    def named(self) -> Named:
        """(n, identities): which identities get the highest score; several where scores are equal."""
        return named_first(self.opinion.scores)

    @cached_property
    def rank(self) -> Tensor:
        """(n,): how many identities get a higher score than the right one; 0 is a top-1 hit."""
        return rank_of_label(self.opinion.scores, self.labels)

    @cached_property
    def distance(self) -> Tensor:
        """(n,): squared feature distance to the nearest private training image of the right identity."""
        return self.acceptance.distances(self.opinion, self.labels)

    def features_of_both(self) -> tuple[Features, PrivateFeatures]:
        """Features of the images and of the private training images."""
        return self.opinion.features, self.acceptance.reference.features

    @cached_property
    def accepted(self) -> Tensor:
        """(n,): whether that distance is one that held-out private images of an identity have."""
        return self.distance <= self.acceptance.threshold


@final
@dataclass(frozen=True, eq=False)
class JudgedImages(Evidence):
    """Images that are meant to show identities, one by one.

    They are reconstructions, held-out private images, a floor or a control.

    Attributes:
        pixels: (n, c, h, w), uint8.
        labels: (n,), whom they are meant to show.
        judgements: what each judge says.
    """

    subject: ClassVar[Subject] = "attack"
    pixels: Pixels
    labels: Labels
    judgements: tuple[Judgement, ...]


@final
@dataclass(frozen=True, eq=False)
class FeatureSet:
    """A set of images and the private training images, in the features of one judge or feature network.

    Attributes:
        network: its name.
        labels: (n,), whom the images are meant to show.
        private_labels: (m,).
        num_classes: identities.
        ask: asks for the features of both.
    """

    network: str
    labels: Labels
    private_labels: Int64[Tensor, " m"]
    num_classes: int
    ask: Callable[[], tuple[Features, PrivateFeatures]]

    @cached_property
    def features(self) -> Features:
        """Of the images, (n, d)."""
        return self.ask()[0]

    @cached_property
    def private(self) -> PrivateFeatures:
        """Of the private training images, (m, d)."""
        return self.ask()[1]

    @property
    def comparable(self) -> bool:
        """Whether both sets have the two images that a covariance takes."""
        return min(len(self.labels), len(self.private_labels)) >= 2

    @cached_property
    def manifold(self) -> Mapping[str, Tensor]:
        """Precision, recall, density and coverage of each identity, (identities,), see `trapmid.metrics.manifold`."""
        return manifold(self.features, self.labels, self.private, self.private_labels, self.num_classes)


@final
@dataclass(frozen=True, eq=False)
class ComparedSet(Evidence):
    """Images as a set, compared with the private training images.

    Attributes:
        sets: by judge and, where the audit has one, by feature network.
    """

    subject: ClassVar[Subject] = "attack"
    sets: tuple[FeatureSet, ...]


@final
@dataclass(frozen=True, eq=False)
class NearestImages(Evidence):
    """Images between private and public ones.

    Attributes:
        labels: (n,), whom they are meant to show.
        ask: for each judge, whether a private image is nearer to each image (n,) than every public one; no judge where
            the audit has no public images.
    """

    subject: ClassVar[Subject] = "attack"
    labels: Labels
    ask: Callable[[], Mapping[str, Tensor]]

    @cached_property
    def nearer_to_private(self) -> Mapping[str, Tensor]:
        """(n,) by judge."""
        return self.ask()


@final
@dataclass(frozen=True, eq=False)
class GeneratorSamples(Evidence):
    """Random samples of the generator that an attack trained with the target's help, before any search.

    Attributes:
        nearest: the samples between private and public images.
    """

    subject: ClassVar[Subject] = "attack"
    nearest: NearestImages


@final
@dataclass(frozen=True, eq=False)
class FinishedAttack(Evidence):
    """An attack as its manifest records it.

    Attributes:
        manifest: of the attack.
    """

    subject: ClassVar[Subject] = "attack"
    manifest: Manifest


@final
@dataclass(frozen=True, eq=False)
class PublicImages(Evidence):
    """Images of other people.

    Attributes:
        judgements: what each judge says about them.
    """

    subject: ClassVar[Subject] = "prior"
    judgements: tuple[Judgement, ...]


@final
@dataclass(frozen=True, eq=False)
class PriorSamples(Evidence):
    """A prior that knows no target.

    Attributes:
        prior: the generator.
        labels: (n,), identities to draw samples of.
    """

    subject: ClassVar[Subject] = "prior"
    prior: Prior
    labels: Labels

    @cached_property
    def raw(self) -> Images:
        """(n, c, h, w): samples as the generator makes them, not clipped to [0, 1]."""
        latents = torch.randn(len(self.labels), self.prior.latent_size, generator=generator(0, "prior range"))
        with torch.no_grad():
            return self.prior.decode(latents.to(self.prior.device), self.labels.to(self.prior.device))


@final
@dataclass(frozen=True, eq=False)
class TrainingCost(Evidence):
    """A finished training as its manifest records it.

    Two equal trainings differ in it, so it is no part of a measurement.

    Attributes:
        manifest: of the model.
    """

    subject: ClassVar[Subject] = "model"
    manifest: Manifest


@final
@dataclass(frozen=True, eq=False)
class AttackCost(Evidence):
    """What a finished attack took, as its manifest records it.

    Two equal attacks differ in it, so it is no part of a measurement.

    Attributes:
        manifest: of the attack.
    """

    subject: ClassVar[Subject] = "attack"
    manifest: Manifest

    def note(self, name: str) -> float | None:
        """A number that the attack noted; None where it noted none of that name."""
        return self.manifest.fact("notes", dict[str, float]).get(name) if "notes" in self.manifest.facts else None
