"""Robust accuracy where the truth is known."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trapmid.metrics.robustness import APGD, without_gradient, withstands

SHAPE = (1, 4, 4)


class Linear(nn.Module):
    """Two classes told apart by a weighted sum; remembers what it was shown."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 16, generator=torch.Generator().manual_seed(seed)))
        self.shown: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shown.append(images.detach().clone())
        return (images - 0.5).flatten(1) @ self.weight.T


def drawn(n: int, spread: float = 0.1) -> torch.Tensor:
    return 0.5 + spread * torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(1)).clamp(-3, 3)


@pytest.mark.parametrize("radius", [0.01, 0.02, 0.05])
def test_of_a_linear_model_exactly_the_small_margins_fall(radius: float) -> None:
    """max over the box of -margin is reached in its corner: an image stands iff its margin exceeds radius * |w|_1."""
    model, images = Linear(), drawn(200)
    logits = model(images).detach()
    labels = logits.argmax(1)
    margin = logits.gather(1, labels[:, None]).squeeze(1) - logits.gather(1, 1 - labels[:, None]).squeeze(1)
    reach = radius * (model.weight[0] - model.weight[1]).abs().sum().detach()
    stands = withstands(model, images, labels, radius, steps=20)
    sure = (margin - reach).abs() > 1e-3 * reach
    assert torch.equal(stands[sure], (margin > reach)[sure])
    assert 0.1 < float(stands.double().mean()) < 0.9


def test_nothing_outside_the_ball_or_the_unit_box_is_shown() -> None:
    model, images = Linear(), drawn(30, spread=0.3).clamp(0, 1)
    labels = model(images).argmax(1)
    model.weight.data *= 0.01
    model.shown.clear()
    standing = withstands(model, images, labels, 0.01, steps=12)
    everything = [shown for shown in model.shown if len(shown) == len(images)]
    assert everything
    for shown in everything:
        assert float((shown - images).abs().max()) <= 0.01 + 1e-6
        assert float(shown.min()) >= 0
        assert float(shown.max()) <= 1
    assert standing.shape == (30,)


class Curved(nn.Module):
    """Two classes told apart by waves, so that one step in the gradient's direction goes too far."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(3 * torch.randn(16, 32, generator=rng))
        self.second = nn.Parameter(torch.randn(32, 2, generator=rng))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.sin(images.flatten(1) @ self.first) @ self.second


def test_stronger_than_one_step_and_than_chance() -> None:
    model, images, radius = Curved(), drawn(200), 0.03
    labels = model(images).argmax(1)
    shown = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(shown), labels), shown)
    one_step = (images + radius * gradient.sign()).clamp(0, 1)
    stands = float(withstands(model, images, labels, radius, steps=20).double().mean())
    assert stands < float((model(one_step).argmax(1) == labels).double().mean()) - 0.02
    corners = radius * torch.randn(20, *images.shape, generator=torch.Generator().manual_seed(2)).sign()
    lucky = torch.stack([(model(images + by).argmax(1) == labels) for by in corners]).all(0)
    assert stands < float(lucky.double().mean())


def test_budgets_build_on_each_other_and_mistakes_never_stood() -> None:
    model, images = Linear(), drawn(100)
    labels = model(images).argmax(1)
    labels[:10] = 1 - labels[:10]
    stands = APGD(budgets=(20, 5), steps=8).stands(model, images, labels)
    assert list(stands) == [5, 20]
    assert not bool(stands[5][:10].any())
    assert not bool((stands[20] & ~stands[5]).any())
    assert 0 < int(stands[20].sum()) < int(stands[5].sum()) < 90
    again = APGD(budgets=(5,), steps=8).stands(model, images, labels)
    assert torch.equal(again[5], stands[5])


class Rounded(nn.Module):
    """Gradient masking by rounding the image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([images.flatten(1)[:, :8].round().sum(1), images.flatten(1)[:, 8:].sum(1)], 1)[:, [0, 0, 0]]


def test_vanishing_gradients_are_seen_and_sureness_is_no_masking() -> None:
    images = drawn(20)
    model = Linear()
    labels = model(images).argmax(1)
    model.weight.data *= 1e4  # cross-entropy at the right identity is exactly 0 in float32
    assert not bool(without_gradient(model, images, labels).any())
    assert bool(without_gradient(Rounded(), images, torch.zeros(20).long()).all())
