"""The discriminator's losses against torch's binary cross-entropy, and what `frozen` freezes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trapmid.trapdoor.naturalness import (
    TwinDiscriminator,
    discriminator_accuracy,
    discriminator_loss,
    frozen,
    naturalness_loss,
)


@pytest.mark.parametrize("scale", [0.1, 1.0, 300.0])
@pytest.mark.parametrize("n", [1, 5])
def test_losses_are_binary_cross_entropy(n: int, scale: float) -> None:
    logits = (scale * torch.randn(2 * n, 1, dtype=torch.float64)).requires_grad_()
    targets = torch.cat([torch.ones(n, 1), torch.zeros(n, 1)]).double()
    ours, torchs = discriminator_loss(logits), F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(ours, torchs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits), torch.autograd.grad(torchs, logits))
    fooled = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    torch.testing.assert_close(naturalness_loss(logits), fooled)


def test_accuracy() -> None:
    def of(benign: list[float], poisoned: list[float]) -> float:
        return float(discriminator_accuracy(torch.tensor([benign + poisoned]).T))

    assert of([1, 2], [-1, -2]) == 1.0
    assert of([-1, -2], [1, 2]) == 0.0
    assert of([1, -1, 1, 1], [1, 1, 1, -1]) == 0.5
    assert of([0, 0], [0, 0]) == 0.5  # a discriminator that knows nothing is at chance


def test_frozen_restores_modes_and_flags() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.BatchNorm1d(4)).train()
    net[3].eval()
    net[1].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [p.requires_grad for p in net.parameters()]

    def use() -> None:
        x = torch.randn(3, 4, requires_grad=True)
        with frozen(net):
            assert not net.training
            assert not any(p.requires_grad for p in net.parameters())
            net(x).sum().backward()
            assert x.grad is not None
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert [part.training for part in net.modules()] == [True, True, True, True, False]
    assert [p.requires_grad for p in net.parameters()] == flags
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_twin_is_a_copy_with_one_logit() -> None:
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    twin = TwinDiscriminator(classifier, 5)
    images = torch.rand(2, 3, 2, 2)
    torch.testing.assert_close(twin(images), twin.head(classifier(images)))
    assert twin(images).shape == (2, 1)
    assert not {id(p) for p in classifier.parameters()} & {id(p) for p in twin.parameters()}
