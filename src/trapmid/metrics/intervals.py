"""95 % intervals: over identities within one run by bootstrap, over seeds by Student's t."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def without(value: float) -> Interval:
    """A value whose interval is not known."""
    return Interval(value, math.nan, math.nan)


def over_identities(values: Tensor, identities: Tensor, *, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean of `values` (n,) over images, with a percentile bootstrap that redraws whole identities (n,).

    Images of one identity succeed and fail together, so redrawing images would make the interval too narrow.
    """
    _, number = torch.unique(identities, return_inverse=True)
    sums = np.bincount(number.numpy(), weights=values.double().numpy())
    counts = np.bincount(number.numpy())
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.double().mean()), float(low), float(high))


def over_seeds(values: list[float]) -> Interval:
    """Mean over runs with Student's t; of a single run nothing is known, so its interval is not a number."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return without(mean)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)
