"""APGD-CE against the best change of a linear model, which is known, and its schedule as the paper lists it."""

import pytest
import torch
from torch import Tensor, nn

from trapmid.metrics.adversarial import Ball, adversarial, checkpoints

BALLS = [Ball("a", "linf", 0.03), Ball("b", "l2", 0.4)]


@pytest.fixture
def linear() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 2)).eval()


def margins(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    logits = model(images).detach()
    return (logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None])).squeeze(1)


def grey(n: int) -> Tensor:
    """Far from 0 and 1, so that no ball is clipped."""
    return 0.5 + 0.1 * torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)


def reach(model: nn.Module, ball: Ball) -> float:
    """How far the margin of a linear model can fall: the radius times the dual norm of the difference of two rows."""
    weight = (model[1].weight[0] - model[1].weight[1]).detach()  # type: ignore[index]
    return ball.radius * float(weight.abs().sum() if ball.norm == "linf" else weight.norm())


@pytest.mark.parametrize("ball", BALLS)
def test_of_a_linear_model_the_best_change_is_found(linear: nn.Module, ball: Ball) -> None:
    """A bias keeps every image from falling, since fallen ones are changed no further."""
    images, labels = grey(9), torch.zeros(9, dtype=torch.long)
    linear[1].bias.data[0] += 5.0  # type: ignore[index]
    found, fallen = adversarial(linear, images, labels, ball, torch.Generator().manual_seed(1), batch=4)
    assert not bool(fallen.any())
    change = (found - images).flatten(1)
    length = change.abs().amax(1) if ball.norm == "linf" else change.norm(dim=1)
    assert float(length.max()) <= ball.radius + 1e-6
    fell = margins(linear, images, labels) - margins(linear, found, labels)
    assert fell.tolist() == pytest.approx([reach(linear, ball)] * 9, rel=0.02)
    assert all(p.grad is None for p in linear.parameters())


@pytest.mark.parametrize("ball", BALLS)
def test_of_a_linear_model_exactly_the_small_margins_fall(linear: nn.Module, ball: Ball) -> None:
    ball, images = ball._replace(radius=ball.radius / 5), grey(300)
    linear[1].bias.data -= linear(torch.full((1, 3, 6, 6), 0.5))[0].detach()  # type: ignore[index]
    labels = linear(images).argmax(1)
    margin, reached = margins(linear, images, labels), reach(linear, ball)
    found, fallen = adversarial(linear, images, labels, ball, torch.Generator().manual_seed(1))
    sure = (margin - reached).abs() > 1e-3 * reached
    assert torch.equal(fallen[sure], (margin < reached)[sure])
    assert 0.1 < float(fallen.double().mean()) < 0.9
    assert torch.equal(fallen, linear(found).argmax(1) != labels)


@pytest.mark.parametrize("ball", BALLS)
def test_stays_a_picture_and_leaves_what_is_wrong_already(linear: nn.Module, ball: Ball) -> None:
    images = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)).round()
    labels = linear(images).argmax(1)
    wrong = torch.arange(8) < 3
    found, fallen = adversarial(linear, images, labels ^ wrong.long(), ball, torch.Generator().manual_seed(1), steps=3)
    assert bool(fallen[wrong].all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert torch.equal(found[wrong], images[wrong])
    assert bool((found != images).flatten(1).any(1)[~wrong].all())
    again, _ = adversarial(linear, images, labels ^ wrong.long(), ball, torch.Generator().manual_seed(1), steps=3)
    assert torch.equal(found, again)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_are_drawn_from_all_of_the_ball(norm: str) -> None:
    ball = Ball("a", norm, 0.5)  # type: ignore[arg-type]
    drawn = ball.draw(torch.zeros(4000, 1, 1, 2), torch.Generator().manual_seed(0)).flatten(1)
    length = drawn.abs().amax(1) if norm == "linf" else drawn.norm(dim=1)
    assert float(length.max()) <= 0.5
    # of points drawn evenly from a ball of two dimensions, a quarter lies within half its radius
    assert float((length < 0.25).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert drawn.mean(0).tolist() == pytest.approx([0, 0], abs=0.02)


def test_checkpoints_are_the_papers() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert max(checkpoints(1)) == 1
