"""Thresholds and p-values against sums written out, scipy's exact intervals and draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trapmid.detection import Calibration
from trapmid.detection.calibration import lowest_rate
from trapmid.types import UserError


def calibrated(scores: np.ndarray, rate: float = 0.05, confidence: float = 0.95) -> Calibration:
    return Calibration(torch.from_numpy(np.sort(scores)).float(), rate, confidence)


@pytest.mark.parametrize(
    ("n", "rate", "confidence"), [(59, 0.05, 0.95), (171, 0.05, 0.95), (80, 0.2, 0.9), (10, 0.5, 0.95)]
)
def test_the_threshold_is_the_lowest_order_statistic_that_is_safe(n: int, rate: float, confidence: float) -> None:
    scores = np.linspace(0, 1, n)

    def risk(above: int) -> float:
        return sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(above + 1))

    above = max(r for r in range(n) if risk(r) <= 1 - confidence)
    found = calibrated(scores, rate, confidence)
    assert found.threshold == pytest.approx(scores[n - 1 - above])
    assert int(found.flagged(found.clean).sum()) == above
    exact = stats.binomtest(above, n, alternative="less").proportion_ci(confidence, method="exact").high
    assert found.bound() == pytest.approx(exact)
    assert found.bound() <= rate


@pytest.mark.parametrize("draw", ["uniform", "heavy", "tied"])
def test_the_stated_rate_holds_on_new_draws(draw: str) -> None:
    rng = np.random.default_rng(0)
    n, rate, draws = 150, 0.1, 300
    broken = 0
    for _ in range(draws):
        uniform = rng.random(n)
        scores = {"uniform": uniform, "heavy": np.tan(np.pi * (uniform - 0.5)), "tied": np.floor(20 * uniform)}[draw]
        threshold = calibrated(scores, rate).threshold
        true_rate = {
            "uniform": 1 - threshold,
            "heavy": stats.cauchy.sf(threshold),
            "tied": 1 - (np.floor(threshold) + 1) / 20,
        }[draw]
        broken += true_rate > rate + 1e-6
    assert broken / draws <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=30), st.lists(st.integers(-1, 9), min_size=1, max_size=5))
def test_p_values_are_ranks(clean: list[int], shown: list[int]) -> None:
    found = calibrated(np.array(clean, dtype=float), 0.99, 0.5).p_values(torch.tensor(shown).float())
    expected = [(1 + sum(c >= s for c in clean)) / (1 + len(clean)) for s in shown]
    assert found.tolist() == pytest.approx(expected)


def test_chance_counts_what_the_calibration_does_not_know() -> None:
    """Against draws of clean images, calibration included; and of an endless calibration, the binomial test."""
    rng = np.random.default_rng(0)
    n, m, draws = 60, 20, 4000
    drawn = rng.random((draws, n + m))
    example = calibrated(drawn[0, :n], 0.1)
    thresholds = np.sort(drawn[:, :n], axis=1)[:, n - 1 - example.above]
    flagged = (drawn[:, n:] > thresholds[:, None]).sum(1)
    for k in (1, 2, 4):
        expected = float((flagged >= k).mean())
        assert example.chance(k, m) == pytest.approx(expected, abs=4 * math.sqrt(expected / draws))
    assert example.chance(0, m) == 1.0
    endless = calibrated(np.linspace(0, 1, 200_000), 0.05)
    known = stats.binomtest(5, 20, endless.above / 200_000, alternative="greater").pvalue
    assert endless.chance(5, 20) == pytest.approx(known, rel=0.01)
    assert 0 < endless.chance(100, 100) < 1e-120


def test_what_cannot_be_vouched_for_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"58 clean images cannot guarantee .* 95% confidence; the lowest rate they can is 5\.03%"
    ):
        calibrated(np.linspace(0, 1, 58))
    with pytest.raises(UserError, match="0 clean images"):
        calibrated(np.zeros(0))
    with pytest.raises(UserError, match="expected both between 0 and 1"):
        calibrated(np.zeros(100), 5.0)
    for n in (1, 7, 58, 200):
        assert calibrated(np.linspace(0, 1, n), lowest_rate(n)).above == 0
