"""Metrics of trapdoors as detectors: how well signatures separate recovered and adversarial images from clean ones."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from trapmid.metrics.intervals import Interval, over_identities, without
from trapmid.metrics.metric import Evidence, Measured, Metric, Subject
from trapmid.metrics.scores import HELD_OUT, PUBLIC
from trapmid.metrics.separation import auc
from trapmid.metrics.units import Unit
from trapmid.types import Labels

_FIGURE = "Trap-MID (Liu & Chen, NeurIPS 2024), Figures 3 and 7"


@final
@dataclass(frozen=True, eq=False)
class ScoredImages:
    """The detector's score of each image of a set.

    Attributes:
        scores: (n,).
        groups: (n,): images of one group, such as those of one identity, are alike; intervals redraw whole groups.
    """

    scores: Tensor
    groups: Labels

    def share_above(self, threshold: float) -> Interval:
        """The share of images whose score is above a threshold."""
        return over_identities((self.scores > threshold).double(), self.groups)


@final
@dataclass(frozen=True, eq=False)
class Detection(Evidence):
    """The scores that the detector of one trapdoored model gives to each set of images.

    Attributes:
        allowed: the false-positive rate that the calibrated threshold was set for.
        calibrated: that threshold.
        published: the threshold of the Trap-MID paper, the 95th percentile of clean training images.
        clean: private test images.
        public: images of other people.
        found: what attacks found, by attack.
        adversarial: by perturbation, the test images that were perturbed, as they were and afterwards.
    """

    subject: ClassVar[Subject] = "trapdoor"
    allowed: float
    calibrated: float
    published: float
    clean: ScoredImages
    public: ScoredImages
    found: Mapping[str, ScoredImages]
    adversarial: Mapping[str, tuple[ScoredImages, ScoredImages]]

    @property
    def sets(self) -> dict[str, ScoredImages]:
        """Every set, by the attack column of its scores."""
        perturbed = {name: after for name, (_, after) in self.adversarial.items()}
        return {HELD_OUT: self.clean, PUBLIC: self.public, **self.found, **perturbed}


Threshold = Callable[[Detection], float]


def _calibrated(evidence: Detection) -> float:
    return evidence.calibrated


def _published(evidence: Detection) -> float:
    return evidence.published


def _allowed(evidence: Detection) -> Iterator[Measured]:
    yield Measured(without(evidence.allowed))


def _threshold(of: Threshold) -> Callable[[Detection], Iterator[Measured]]:
    def compute(evidence: Detection) -> Iterator[Measured]:
        yield Measured(without(of(evidence)))

    return compute


def _mean_score(evidence: Detection) -> Iterator[Measured]:
    for name, one in evidence.sets.items():
        yield Measured(over_identities(one.scores, one.groups), attack=name)


def _auc(evidence: Detection) -> Iterator[Measured]:
    for name, one in evidence.found.items():
        yield Measured(auc(one.scores, evidence.public.scores, one.groups), attack=name)
    for name, (before, after) in evidence.adversarial.items():
        yield Measured(auc(after.scores, before.scores, after.groups), attack=name)


def _recall(of: Threshold) -> Callable[[Detection], Iterator[Measured]]:
    def compute(evidence: Detection) -> Iterator[Measured]:
        for name, one in evidence.found.items():
            yield Measured(one.share_above(of(evidence)), attack=name)

    return compute


def _dsr(of: Threshold) -> Callable[[Detection], Iterator[Measured]]:
    def compute(evidence: Detection) -> Iterator[Measured]:
        for name, (before, after) in evidence.adversarial.items():
            right = torch.cat([before.scores <= of(evidence), after.scores > of(evidence)])
            yield Measured(over_identities(right.double(), torch.cat([before.groups, after.groups])), attack=name)

    return compute


def _false_positives(of: Threshold) -> Callable[[Detection], Iterator[Measured]]:
    def compute(evidence: Detection) -> Iterator[Measured]:
        for name, one in ((HELD_OUT, evidence.clean), (PUBLIC, evidence.public)):
            yield Measured(one.share_above(of(evidence)), attack=name)

    return compute


DETECTION_SCORE = Metric(
    name="detection_score",
    title="Mean cosine",
    unit=Unit.NUMBER,
    better="neither",
    of=Detection,
    compute=_mean_score,
    about="The mean cosine of an image's features with the signature of the identity that the model predicts.",
    paper=_FIGURE,
    hint="with the signature",
    tables=("detection",),
)
DETECTION_AUC = Metric(
    name="detection_auc",
    title="AUC",
    unit=Unit.SHARE,
    better="higher",
    of=Detection,
    compute=_auc,
    about="The probability that a recovered image scores higher than a public one, or an adversarial image higher than "
    "a clean one.",
    paper=_FIGURE,
    hint="50\u00a0%: no better than chance",
    tables=("detection",),
)
DETECTION_RECALL = Metric(
    name="detection_recall",
    title="Detection recall",
    unit=Unit.SHARE,
    better="higher",
    of=Detection,
    compute=_recall(_calibrated),
    about="The share of recovered images above the calibrated threshold.",
    paper=_FIGURE,
    hint="flagged of recovered",
    tables=("detection",),
)
DETECTION_DSR = Metric(
    name="detection_dsr",
    title="DSR",
    unit=Unit.SHARE,
    better="higher",
    of=Detection,
    compute=_dsr(_calibrated),
    about="Detection success rate: the share of clean and adversarial images together that are on the right side of "
    "the calibrated threshold.",
    paper=_FIGURE,
    hint="right on clean and adversarial",
    tables=("detection",),
)
DETECTION_FALSE_POSITIVES = Metric(
    name="detection_false_positives",
    title="False positives",
    unit=Unit.SHARE,
    better="lower",
    of=Detection,
    compute=_false_positives(_calibrated),
    about="The share of clean private test images, and of public images, above the calibrated threshold.",
    hint="flagged of clean",
    tables=("detection",),
)
DETECTION_THRESHOLD = Metric(
    name="detection_threshold",
    title="Threshold",
    unit=Unit.NUMBER,
    better="neither",
    of=Detection,
    compute=_threshold(_calibrated),
    about="The calibrated threshold: with 95 % confidence no more than the allowed share of clean private images "
    "scores above it.",
    tables=(),
)
DETECTION_ALLOWED = Metric(
    name="detection_allowed_false_positives",
    title="Allowed false positives",
    unit=Unit.SHARE,
    better="neither",
    of=Detection,
    compute=_allowed,
    about="The false-positive rate that the calibrated threshold was set for.",
    tables=(),
)
DETECTION_THRESHOLD_PUBLISHED = Metric(
    name="detection_threshold_published",
    title="Published threshold",
    unit=Unit.NUMBER,
    better="neither",
    of=Detection,
    compute=_threshold(_published),
    about="The threshold of the Trap-MID paper: the 95th percentile of clean training images.",
    paper=_FIGURE,
    tables=(),
)
DETECTION_RECALL_PUBLISHED = Metric(
    name="detection_recall_published",
    title="Detection recall, published threshold",
    unit=Unit.SHARE,
    better="higher",
    of=Detection,
    compute=_recall(_published),
    about="Recall at the published threshold.",
    paper=_FIGURE,
    tables=(),
)
DETECTION_DSR_PUBLISHED = Metric(
    name="detection_dsr_published",
    title="DSR, published threshold",
    unit=Unit.SHARE,
    better="higher",
    of=Detection,
    compute=_dsr(_published),
    about="Detection success rate at the published threshold.",
    paper=_FIGURE,
    tables=(),
)
DETECTION_FALSE_POSITIVES_PUBLISHED = Metric(
    name="detection_false_positives_published",
    title="False positives, published threshold",
    unit=Unit.SHARE,
    better="lower",
    of=Detection,
    compute=_false_positives(_published),
    about="False positives at the published threshold.",
    tables=(),
)
AT_THE_PUBLISHED_THRESHOLD = {
    DETECTION_RECALL.name: DETECTION_RECALL_PUBLISHED,
    DETECTION_DSR.name: DETECTION_DSR_PUBLISHED,
    DETECTION_FALSE_POSITIVES.name: DETECTION_FALSE_POSITIVES_PUBLISHED,
}
"""By the name of a metric at the calibrated threshold, the same at the published one."""

METRICS = (
    DETECTION_SCORE,
    DETECTION_AUC,
    DETECTION_RECALL,
    DETECTION_DSR,
    DETECTION_FALSE_POSITIVES,
    DETECTION_THRESHOLD,
    DETECTION_ALLOWED,
    *AT_THE_PUBLISHED_THRESHOLD.values(),
    DETECTION_THRESHOLD_PUBLISHED,
)
