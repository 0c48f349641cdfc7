"""AUC and ROC against scikit-learn, the interval against a bootstrap."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trapmid.metrics.separation import auc, roc

few = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def both(positives: torch.Tensor, negatives: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return np.r_[np.ones(len(positives)), np.zeros(len(negatives))], torch.cat([positives, negatives]).numpy()


@settings(max_examples=60, deadline=None)
@given(few, few)
def test_auc_with_ties(positives: list[int], negatives: list[int]) -> None:
    from sklearn.metrics import roc_auc_score

    ones, zeros = torch.tensor(positives).float(), torch.tensor(negatives).float()
    found = auc(ones, zeros)
    assert found.value == pytest.approx(roc_auc_score(*both(ones, zeros)))
    assert math.isnan(found.low) or found.low <= found.value <= found.high


def test_the_roc_is_scikit_learns() -> None:
    from sklearn.metrics import roc_curve

    rng = torch.Generator().manual_seed(0)
    ones, zeros = torch.randn(83, generator=rng) + 0.7, torch.randn(100, generator=rng)
    rates, found = roc(ones, zeros, points=101)
    theirs = roc_curve(*both(ones, zeros), drop_intermediate=False)
    for rate, share in zip(rates, found, strict=True):
        assert share == pytest.approx(max(theirs[1][theirs[0] <= rate + 1e-9]))
    assert (found[0], found[-1]) == (theirs[1][theirs[0] == 0].max(), 1.0)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_is_the_bootstraps(grouped: bool) -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(40).repeat(5)
    ones = 0.8 + rng.normal(size=40)[groups] * (1.0 if grouped else 0.0) + 0.7 * rng.normal(size=200)
    zeros = rng.normal(size=300)
    draws = []
    for _ in range(400):
        picked = (
            np.concatenate([ones[groups == g] for g in rng.integers(40, size=40)]) if grouped else rng.choice(ones, 200)
        )
        draws.append(auc(torch.from_numpy(picked), torch.from_numpy(rng.choice(zeros, 300))).value)
    found = auc(torch.from_numpy(ones), torch.from_numpy(zeros), torch.from_numpy(groups) if grouped else None)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_without_overlap_the_interval_has_no_width() -> None:
    assert auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == (1.0, 1.0, 1.0)
    assert math.isnan(auc(torch.tensor([2.0]), torch.tensor([0.0, 1.0])).low)
