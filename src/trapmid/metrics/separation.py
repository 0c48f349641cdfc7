"""How well a score separates two sets of images: the ROC curve, and the area under it with its interval.

The variance is that of DeLong, DeLong and Clarke-Pearson (Biometrics 1988), or of Obuchowski (Biometrics 1997) for
clustered data.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy import stats
from torch import Tensor

from trapmid.metrics.intervals import LEVEL, Interval


def auc(
    positives: Float[Tensor, " m"], negatives: Float[Tensor, " n"], identities: Int64[Tensor, " m"] | None = None
) -> Interval:
    """The probability that a positive scores higher than a negative, with its 95 % interval; ties count half.

    The variance is DeLong's. With `identities` it is Obuchowski's, by sums over identities, since images of one
    identity succeed and fail together. The interval is normal on the scale of log odds. If every positive is above
    every negative, the interval has no width; this does not mean certainty, but that the sets are too small to show an
    overlap.

    Args:
        positives: (m,), scores of the images that should score high.
        negatives: (n,), scores of the others.
        identities: (m,), which positives belong together; None if they are independent.
    """
    of_positives, of_negatives = _placements(positives, negatives), 1 - _placements(negatives, positives)
    value = float(of_positives.mean())
    groups = torch.arange(len(positives)) if identities is None else identities.unique(return_inverse=True)[1]
    sums = torch.zeros(int(groups.max()) + 1, dtype=torch.float64).index_add_(0, groups, of_positives - value)
    variance = _variance_of_mean(sums, len(positives)) + _variance_of_mean(of_negatives - value, len(negatives))
    if not 0 < value < 1 or not math.isfinite(variance):
        return Interval(value, value, value) if math.isfinite(variance) else Interval(value, math.nan, math.nan)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance) / (value * (1 - value))
    odds = math.log(value / (1 - value))
    return Interval(value, _sigmoid(odds - half), _sigmoid(odds + half))


def roc(
    positives: Float[Tensor, " m"], negatives: Float[Tensor, " n"], points: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates, (points,) each, from (0, 0) to (1, 1) as the threshold falls."""
    rates = np.linspace(0, 1, points)
    falling = np.sort(negatives.double().numpy())[::-1]
    allowed = np.floor(rates * len(falling) + 1e-9).astype(int)
    thresholds = np.append(falling, -np.inf)[allowed]
    found = (positives.double().numpy()[:, None] > thresholds).mean(0)
    return rates, found


def _placements(ones: Tensor, others: Tensor) -> Tensor:
    """(len(ones),): for each score, the share of `others` below it; ties count half."""
    order = others.sort().values
    below, up_to = torch.searchsorted(order, ones), torch.searchsorted(order, ones, right=True)
    return (below + up_to).double() / (2 * len(others))


def _variance_of_mean(deviations: Tensor, count: int) -> float:
    """The variance of a mean over `count` values, from the sums (k,) of deviations within k independent groups."""
    groups = len(deviations)
    return float((deviations**2).sum()) * groups / (groups - 1) / count**2 if groups > 1 else math.nan


def _sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
