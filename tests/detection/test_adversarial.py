"""PGD against the best change of a linear model, which is known."""

import pytest
import torch
from torch import nn

from trapmid.detection.adversarial import BALLS, Ball, adversarial


@pytest.fixture
def linear() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 2)).eval()


@pytest.mark.parametrize("ball", [Ball("a", "linf", 0.03), Ball("b", "l2", 0.4)])
def test_of_a_linear_model_the_best_change_is_found(linear: nn.Module, ball: Ball) -> None:
    """The margin falls by radius x the dual norm of the difference of the rows; grey images are far from 0 and 1."""
    images = 0.5 + 0.1 * torch.randn(9, 3, 6, 6, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    with torch.no_grad():
        before = linear(images)
    labels = before.argmax(1)
    found = adversarial(linear, images, labels, ball, torch.Generator().manual_seed(1), batch=4)
    change = (found - images).flatten(1)
    length = change.abs().amax(1) if ball.norm == "linf" else change.norm(dim=1)
    assert float(length.max()) <= ball.radius + 1e-6
    weight = linear[1].weight[0] - linear[1].weight[1]
    dual = weight.abs().sum() if ball.norm == "linf" else weight.norm()
    with torch.no_grad():
        fell = (before - linear(found)).gather(1, labels[:, None]) - (before - linear(found)).gather(
            1, 1 - labels[:, None]
        )
    assert fell.squeeze(1).tolist() == pytest.approx([ball.radius * float(dual)] * 9, rel=0.02)
    assert all(p.grad is None for p in linear.parameters())


@pytest.mark.parametrize("ball", BALLS)
def test_stays_a_picture_and_leaves_what_is_wrong_already(linear: nn.Module, ball: Ball) -> None:
    images = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)).round()
    labels = linear(images).argmax(1)
    wrong = torch.arange(8) < 3
    found = adversarial(linear, images, labels ^ wrong.long(), ball, torch.Generator().manual_seed(1), steps=3)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert torch.equal(found[wrong], images[wrong])
    assert bool((found != images).flatten(1).any(1)[~wrong].all())
    again = adversarial(linear, images, labels ^ wrong.long(), ball, torch.Generator().manual_seed(1), steps=3)
    assert torch.equal(found, again)
