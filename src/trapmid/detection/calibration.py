"""What a score is worth: thresholds and p-values from held-out clean images, valid for a finite number of them, whatever their distribution.

Order statistics as tolerance bounds (Wilks 1941); conformal p-values (Vovk, Gammerman & Shafer 2005; Bates et al. 2023).
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
    """Scores of clean images that were not learned from, and how sure one wants to be.

    Everything here assumes that images yet to come, as long as they are clean, are exchangeable with these: drawn as they
    were. Pictures of one person are alike, so that several of each count for fewer than they are, and people the model does not know
    may score otherwise (an audit reports the false positives among public images apart).

    Attributes:
        clean: (n,), ascending.
        false_positives: the share of clean images that may be flagged.
        confidence: how sure it is that no more are, over the draw of the calibration images.

    Raises:
        UserError: n images cannot vouch for so low a rate.
    """

    clean: Float[Tensor, " n"]
    false_positives: float = 0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (0 < self.false_positives < 1 and 0 < self.confidence < 1):
            raise UserError(
                f"A false-positive rate of {self.false_positives} with confidence {self.confidence}: expected both between 0 and 1, e.g. 0.05 and 0.95."
            )
        lowest = lowest_rate(len(self.clean), self.confidence)
        if self.false_positives < lowest:
            raise UserError(
                f"{len(self.clean)} clean images cannot vouch for a false-positive rate of {self.false_positives:.2%} with {self.confidence:.0%} confidence; the lowest is {lowest:.2%}. "
                "Allow more false positives, or calibrate on more images."
            )

    @cached_property
    def above(self) -> int:
        """How many calibration images may lie above the threshold.

        Flagging above the (n - r)-th smallest score has a false-positive rate whose distribution over calibration draws is at most
        Beta(r + 1, n - r), so it exceeds `false_positives` with probability P[Binomial(n, false_positives) <= r]. This is
        the largest r that keeps it within 1 - confidence.
        """
        risk = stats.binom.cdf(np.arange(len(self.clean)), len(self.clean), self.false_positives)
        return max(0, int((risk <= 1 - self.confidence).sum()) - 1)

    @cached_property
    def threshold(self) -> float:
        """An image is flagged if its score is above this one."""
        return float(self.clean[len(self.clean) - 1 - self.above])

    def flagged(self, scores: Float[Tensor, " m"]) -> Tensor:
        """(m,), bool: which scores are above the threshold."""
        return scores > self.threshold

    def bound(self) -> float:
        """The upper end of the one-sided interval of Clopper & Pearson (1934) for the false-positive rate at the threshold."""
        n, seen = len(self.clean), int(self.flagged(self.clean).sum())
        return float(stats.beta.ppf(self.confidence, seen + 1, n - seen))

    def p_values(self, scores: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """(m,): for each image by itself, (1 + clean images that score at least as high) / (1 + n).

        Of a clean image it is below any u with probability at most u (conformal: the rank of one among n + 1 exchangeable scores).
        It is never below 1 / (n + 1). p-values of several images share the calibration images, hence depend on each other and may not be
        combined as if they did not, by Fisher's rule for one; `chance` is for sets.
        """
        at_least = len(self.clean) - torch.searchsorted(self.clean, scores.contiguous().to(self.clean))
        return (1 + at_least).double() / (1 + len(self.clean))

    def chance(self, flagged: int, images: int) -> float:
        """p-value of a set: how likely it is that `flagged` or more of as many clean images are above the threshold.

        A binomial test that also counts what the calibration does not know: the threshold's false-positive rate is a draw of
        Beta(r + 1, n - r), so the number flagged is beta-binomial, exactly, if all n + images scores are exchangeable and no two
        equal; ties make it conservative. Pictures that are copies of each other, or all of one person, are not exchangeable: count
        them once. It sees what lies above the threshold only: a set whose scores are all a little high is not found by it.
        """
        if flagged == 0:
            return 1.0
        counts = np.arange(flagged, images + 1)
        tail = stats.betabinom.logpmf(counts, images, self.above + 1, len(self.clean) - self.above)
        return min(1.0, float(np.exp(logsumexp(tail))))


def lowest_rate(images: int, confidence: float = 0.95) -> float:
    """The lowest false-positive rate that as many clean images can vouch for: none of them above a threshold shows no less; 1 for no images."""
    return 1 - (1 - confidence) ** (1 / images) if images else 1.0
