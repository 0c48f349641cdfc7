"""95 % intervals: over identities within one run by bootstrap, over seeds by Student's t; and those of differences."""

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
    sums, counts = _by_identity(values, identities)
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    return _percentiles(float(values.double().mean()), means)


def paired_over_identities(
    first: Tensor, first_of: Tensor, second: Tensor, second_of: Tensor, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """How much higher the mean of `second` (m,) is than that of `first` (n,), both over images of the same identities.

    A percentile bootstrap redraws identities, always the same for both. An identity that is easy to find in one model
    tends to be easy in the other one, so the interval is mostly narrower than that of independent redraws.

    Args:
        first: (n,), values of images.
        first_of: (n,), the identity of each.
        second: (m,), values of other images.
        second_of: (m,), the identity of each.
        draws: how often identities are redrawn.
        seed: of the draws.

    Raises:
        ValueError: the identities are not the same.
    """
    if not torch.equal(torch.unique(first_of), torch.unique(second_of)):
        raise ValueError("paired values need the same identities on both sides")
    sides = _by_identity(first, first_of), _by_identity(second, second_of)
    people = len(sides[0][0])
    picks = np.random.default_rng(seed).integers(people, size=(draws, people))
    before, after = (sums[picks].sum(1) / counts[picks].sum(1) for sums, counts in sides)
    return _percentiles(float(second.double().mean() - first.double().mean()), after - before)


def paired_over_seeds(first: list[float], second: list[float]) -> Interval:
    """How much higher the mean of `second` is than that of `first`, run by run, with Student's t."""
    return over_seeds([after - before for before, after in zip(first, second, strict=True)])


def difference(first: Interval, second: Interval) -> Interval:
    """How much higher `second` is than `first`, from the intervals of both alone, as if they were independent.

    The ends follow from the distances between each value and its own ends, which need not be equal (Newcombe,
    Statistics in Medicine 1998, method 10; Zou & Donner, Statistics in Medicine 2008). They are not known where an end
    of either interval is not.
    """
    value = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return Interval(value, value - below, value + above)


def _by_identity(values: Tensor, identities: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the values of each identity, and their number."""
    _, number = torch.unique(identities, return_inverse=True)
    return np.bincount(number.numpy(), weights=values.double().numpy()), np.bincount(number.numpy())


def _percentiles(value: float, draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def over_seeds(values: list[float]) -> Interval:
    """Mean over runs with Student's t; of a single run nothing is known, so its interval is not a number."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return without(mean)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)
