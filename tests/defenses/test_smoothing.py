"""Smoothed cross-entropy against torch's, and the published schedule of NegLS."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from trapmid.defenses import LS, NegLS
from trapmid.defenses.smoothing import smoothed_cross_entropy


@given(n=st.integers(1, 6), classes=st.integers(2, 9), smoothing=st.floats(0, 1), seed=st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_positive_smoothing_is_torchs(n: int, classes: int, smoothing: float, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(n, classes, generator=rng, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(classes, (n,), generator=rng)
    ours, torchs = (
        smoothed_cross_entropy(logits, labels, smoothing),
        F.cross_entropy(logits, labels, label_smoothing=smoothing),
    )
    torch.testing.assert_close(ours, torchs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits), torch.autograd.grad(torchs, logits))


def test_negative_smoothing_image_by_image() -> None:
    logits, labels, a = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 4, 4, 2]), -0.05
    expected = 0.0
    for row, label in zip(logits, labels, strict=True):
        log_p = [float(value - row.exp().sum().log()) for value in row]
        expected += (-(1 - a) * log_p[int(label)] - a * sum(log_p) / 5) / 4
    assert float(smoothed_cross_entropy(logits, labels, a)) == pytest.approx(expected)


def test_schedule_is_the_published_one() -> None:
    found = [NegLS().strength(epoch, 100) for epoch in range(100)]
    published = [0.0] * 50 + [(e + 1 - 50) / 50 for e in range(50, 75)] + [1.0] * 25
    assert found == pytest.approx(published)
    assert (found[50], found[74], found[75]) == pytest.approx((0.02, 0.5, 1.0))
    mnist = [NegLS().strength(epoch, 10) for epoch in range(10)]
    assert mnist == pytest.approx([0.0] * 5 + [1 / 5, 2 / 5] + [1.0] * 3)
    assert NegLS(start_at=0.0, full_at=0.0).strength(0, 4) == 1.0


@pytest.mark.parametrize("images", ["all", "clean"])
def test_which_images_are_smoothed(images: str) -> None:
    logits, labels = torch.randn(3, 4), torch.tensor([0, 1, 3])
    for defense, a in ((LS(images=images), 0.1), (NegLS(images=images), -0.05)):  # type: ignore[arg-type]
        last = defense.criteria(epoch=9, epochs=10)
        smoothed, plain = smoothed_cross_entropy(logits, labels, a), F.cross_entropy(logits, labels)
        assert float(last.clean(logits, labels)) == pytest.approx(float(smoothed))
        assert float(last.poisoned(logits, labels)) == pytest.approx(float(smoothed if images == "all" else plain))
    first = NegLS(images=images).criteria(epoch=0, epochs=10)  # type: ignore[arg-type]
    assert float(first.clean(logits, labels)) == pytest.approx(float(F.cross_entropy(logits, labels)))
