"""What a score is worth: a threshold and p-values from clean images that were held out.

Both hold for a finite number of clean images and whatever distribution their scores have. The threshold is an order
statistic, used as a tolerance bound (Wilks, Annals of Mathematical Statistics 1941). The p-values are conformal (Vovk,
Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Bates et al., Annals of Statistics 2023).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from scipy.special import logsumexp
from torch import Tensor

from trapmid.types import UserError


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of clean images that the model did not learn from, and the error rate that is wanted.

    All guarantees assume that clean images yet to come are exchangeable with these, that is, drawn in the same way.
    Images of one person are alike, so several of them carry less information than as many images of different people.
    Images of people whom the model does not know may score differently; an audit reports the false positives among
    public images separately.

    Attributes:
        clean: (n,), ascending and finite.
        false_positives: the share of clean images that may be flagged, between 0 and 1.
        confidence: the probability, over the draw of the calibration images, that no more are flagged; between 0 and 1.

    Raises:
        UserError: a score is not finite, or n images are too few to guarantee so low a rate.
    """

    clean: Float[Tensor, " n"]
    false_positives: float = 0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (0 < self.false_positives < 1 and 0 < self.confidence < 1):
            raise UserError(
                f"A false-positive rate of {self.false_positives} with confidence {self.confidence}: "
                "expected both between 0 and 1, e.g. 0.05 and 0.95."
            )
        if not bool(self.clean.isfinite().all()):
            bad = int((~self.clean.isfinite()).sum())
            raise UserError(
                f"{bad} of {len(self.clean)} clean images have a score that is not finite. "
                "Expected numbers from -1 to 1: check these images and the model for NaN."
            )
        lowest = lowest_rate(len(self.clean), self.confidence)
        if self.false_positives < lowest:
            raise UserError(
                f"{len(self.clean)} clean images cannot guarantee a false-positive rate of {self.false_positives:.2%} "
                f"with {self.confidence:.0%} confidence; the lowest rate they can is {lowest:.2%}. "
                "Allow more false positives, or calibrate on more images."
            )

    @cached_property
    def above(self) -> int:
        """How many calibration images may score above the threshold.

        Flagging above the (n - r)-th smallest score has a false-positive rate whose distribution over calibration draws
        is at most Beta(r + 1, n - r). It therefore exceeds `false_positives` with probability P[Binomial(n,
        false_positives) <= r]. This is the largest r that keeps this probability within 1 - confidence.
        """
        risk = stats.binom.cdf(np.arange(len(self.clean)), len(self.clean), self.false_positives)
        return max(0, int((risk <= 1 - self.confidence).sum()) - 1)

    @cached_property
    def threshold(self) -> float:
        """An image is flagged if its score is above this number."""
        return float(self.clean[len(self.clean) - 1 - self.above])

    def flagged(self, scores: Float[Tensor, " m"]) -> Tensor:
        """(m,), bool: which scores are above the threshold, or NaN, which no clean image has."""
        return ~(scores <= self.threshold)

    def bound(self) -> float:
        """The upper end of Clopper and Pearson's one-sided interval (Biometrika 1934) for the rate at the threshold."""
        n, seen = len(self.clean), int(self.flagged(self.clean).sum())
        return float(stats.beta.ppf(self.confidence, seen + 1, n - seen))

    def p_values(self, scores: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """(m,): for each image, (1 + number of clean images that score at least as high) / (1 + n).

        The p-value of a clean image is below any u with probability at most u, since it is the rank of one among n + 1
        exchangeable scores (conformal). It is never below 1 / (n + 1). The p-values of several images share the
        calibration images, so they depend on each other and must not be combined as independent ones, for example by
        Fisher's rule; `chance` is for sets of images.
        """
        at_least = len(self.clean) - torch.searchsorted(self.clean, scores.contiguous().to(self.clean))
        return (1 + at_least).double() / (1 + len(self.clean))

    def chance(self, flagged: int, images: int) -> float:
        """The p-value of a set: how likely it is that clean images are above the threshold as often.

        A binomial test that accounts for the finite calibration. The false-positive rate at the threshold is a draw of
        Beta(r + 1, n - r), so the number flagged is beta-binomial: exactly if all n + images scores are exchangeable
        and no two are equal, conservatively if there are ties. Copies of one image, or images of one person, are not
        exchangeable: count them once. The test only counts scores above the threshold, so it does not find a set whose
        scores are all slightly too high.
        """
        if flagged == 0:
            return 1.0
        counts = np.arange(flagged, images + 1)
        tail = stats.betabinom.logpmf(counts, images, self.above + 1, len(self.clean) - self.above)
        return min(1.0, float(np.exp(logsumexp(tail))))


def lowest_rate(images: int, confidence: float = 0.95) -> float:
    """The lowest false-positive rate that so many clean images can guarantee, by flagging above all of them."""
    return 1 - (1 - confidence) ** (1 / images) if images else 1.0
