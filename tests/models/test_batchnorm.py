"""Recalibrated statistics are plain means over the batches, and nothing else moves."""

import torch
from torch import nn

from trapmid.models.batchnorm import recalibrate_batch_norm


def test_statistics_are_the_mean_over_batches() -> None:
    first, second = nn.BatchNorm2d(3, momentum=0.3), nn.BatchNorm1d(6)
    net = nn.Sequential(first, nn.Conv2d(3, 6, 4), nn.Flatten(), second, nn.Dropout(0.5), nn.Linear(6, 2)).eval()
    net(torch.randn(4, 3, 4, 4))
    first.running_mean.fill_(99.0)  # type: ignore[union-attr]
    weights = {name: value.clone() for name, value in net.named_parameters()}
    batches = [torch.randn(n, 3, 4, 4) * n for n in (5, 9, 7)]
    recalibrate_batch_norm(net, ((batch,) for batch in batches))

    means = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0)
    torch.testing.assert_close(first.running_mean, means)
    torch.testing.assert_close(first.running_var, variances)
    deeper = []
    for x in batches:
        normed = (x - x.mean((0, 2, 3), keepdim=True)) / (
            x.var((0, 2, 3), unbiased=False, keepdim=True) + first.eps
        ).sqrt()
        deeper.append(net[1](normed).flatten(1).detach())
    torch.testing.assert_close(second.running_mean, torch.stack([x.mean(0) for x in deeper]).mean(0))
    torch.testing.assert_close(second.running_var, torch.stack([x.var(0) for x in deeper]).mean(0))

    assert not net.training
    assert (first.momentum, second.momentum) == (0.3, 0.1)
    assert all(torch.equal(weights[name], value) for name, value in net.named_parameters())
    assert all(p.grad is None for p in net.parameters())


def test_without_batch_norm_nothing_runs() -> None:
    def none() -> object:
        raise AssertionError("a forward pass for nothing")
        yield

    recalibrate_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2)), none())  # type: ignore[arg-type]
