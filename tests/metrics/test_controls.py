"""Negative controls by hand and by plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trapmid.metrics.controls import (
    corrected_accuracy,
    derangement,
    disagreement,
    false_positive_rates,
    named_first,
    triggers_alone,
)
from trapmid.trapdoor import Secrets


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 60))
def test_a_derangement_moves_every_identity(classes: int) -> None:
    other = derangement(classes)
    assert sorted(other.tolist()) == list(range(classes))
    assert not bool((other == torch.arange(classes)).any())
    assert torch.equal(other, derangement(classes))


def test_one_identity_has_no_derangement() -> None:
    assert derangement(1).tolist() == [0]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(2, 5), st.integers(0, 500))
def test_corrected_accuracy_is_the_loop(n: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 3, (n, classes)), rng.integers(0, classes, n)  # with ties
    named = named_first(torch.tensor(scores, dtype=torch.float32).view(n, classes))
    rates = false_positive_rates(named, torch.tensor(labels))
    corrected = corrected_accuracy(named, torch.tensor(labels))
    for y in range(classes):
        says = [row[y] == max(row) for row in scores]
        own = [hit for hit, label in zip(says, labels, strict=True) if label == y]
        others = [hit for hit, label in zip(says, labels, strict=True) if label != y]
        if not own or not others:
            assert math.isnan(float(corrected[y]))
            continue
        raw, rate = float(np.mean(own)), float(np.mean(others))
        assert float(rates[y]) == pytest.approx(rate)
        assert float(corrected[y]) == pytest.approx(0.0 if rate == 1 else max(-1.0, (raw - rate) / (1 - rate)))


def test_perfect_constant_and_random_judges() -> None:
    labels = torch.arange(20).repeat(50)
    right = torch.eye(20).bool()[labels]
    assert corrected_accuracy(right, labels).tolist() == [1.0] * 20
    constant = torch.eye(20).bool()[torch.full((1000,), 3)]  # one picture for everybody: raw accuracy is 1/20
    assert corrected_accuracy(constant, labels).tolist() == [0.0] * 20
    drawn = torch.randint(20, (1000,), generator=torch.Generator().manual_seed(0))
    assert float(corrected_accuracy(torch.eye(20).bool()[drawn], labels).mean()) == pytest.approx(0, abs=0.02)


def test_disagreement_is_what_is_not_unanimous() -> None:
    hits = [torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])]
    assert disagreement(hits).tolist() == [False, True, True, False]
    assert not bool(disagreement([hits[0]]).any())
    assert disagreement([*hits, torch.tensor([False] * 4)]).tolist() == [True, True, True, False]


def test_triggers_alone_differ_from_the_picture_by_the_trigger() -> None:
    secrets = Secrets(torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0)), 0.1)
    image = torch.full((1, 2, 2), 0.5)
    torch.testing.assert_close(triggers_alone(secrets, image), 0.9 * image + 0.1 * secrets.triggers)
