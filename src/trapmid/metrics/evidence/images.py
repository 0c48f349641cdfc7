"""Evidence about images that are meant to show identities, and the answers of judges."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias, final

from jaxtyping import Float, Int64
from torch import Tensor

from trapmid.metrics.accuracy import Acceptance, rank_of_label
from trapmid.metrics.calibrated import CalibratedJudge
from trapmid.metrics.controls import Named, named_first
from trapmid.metrics.judge import Opinion
from trapmid.metrics.manifold import manifold
from trapmid.metrics.metric import Evidence, Subject
from trapmid.types import Features, Labels, Pixels

PrivateFeatures: TypeAlias = Float[Tensor, "m features"]


@final
@dataclass(frozen=True, eq=False)
class Judgement:
    """The answers of one judge about images that are meant to show identities.

    Attributes:
        calibrated: the judge.
        labels: (n,), the identity that each image is meant to show.
        ask: computes the opinion of the judge. It is called once.
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
        """The reference images and the threshold that the judge was calibrated with."""
        return self.calibrated.acceptance

    @cached_property
    def opinion(self) -> Opinion:
        """Scores (n, identities) and features (n, d) of the images."""
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
        labels: (n,), the identity that each image is meant to show.
        judgements: the answers of each judge.
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
        network: the name of the judge or the feature network.
        labels: (n,), the identity that each image is meant to show.
        private_labels: (m,), identities of the private training images.
        num_classes: number of identities.
        ask: computes the features of both. It is called when they are first needed.
    """

    network: str
    labels: Labels
    private_labels: Int64[Tensor, " m"]
    num_classes: int
    ask: Callable[[], tuple[Features, PrivateFeatures]]

    @cached_property
    def features(self) -> Features:
        """Features of the images, (n, d)."""
        return self.ask()[0]

    @cached_property
    def private(self) -> PrivateFeatures:
        """Features of the private training images, (m, d)."""
        return self.ask()[1]

    @property
    def comparable(self) -> bool:
        """Whether both sets have at least two images, which a covariance needs."""
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
        sets: one for each judge and, if the audit has one, for the feature network.
    """

    subject: ClassVar[Subject] = "attack"
    sets: tuple[FeatureSet, ...]


@final
@dataclass(frozen=True, eq=False)
class NearestImages(Evidence):
    """Images, and whether private or public images are nearer to them.

    Attributes:
        labels: (n,), the identity that each image is meant to show.
        ask: computes for each judge whether a private image is nearer to each image (n,) than every public image. It
            returns nothing if the audit has no public images.
    """

    subject: ClassVar[Subject] = "attack"
    labels: Labels
    ask: Callable[[], Mapping[str, Tensor]]

    @cached_property
    def nearer_to_private(self) -> Mapping[str, Tensor]:
        """For each judge, (n,): whether a private image is nearer than every public image."""
        return self.ask()


@final
@dataclass(frozen=True, eq=False)
class PublicImages(Evidence):
    """Images of other people.

    Attributes:
        judgements: the answers of each judge about them.
    """

    subject: ClassVar[Subject] = "prior"
    judgements: tuple[Judgement, ...]
