"""DP-SGD: epsilon against Opacus' accountant, clipping against single gradients, samples against their law."""

import copy
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.faces import TINY
from helpers.settings import context_for, started
from trapmid.defenses import DPSGD, NegLS, Stacked
from trapmid.defenses.dpsgd import NoisyUpdate, least_noise, poisson_samples, spent_epsilon
from trapmid.models import ModelConfig, Zoo
from trapmid.models.batchnorm import group_norm_for_batch_norm
from trapmid.types import UserError


@pytest.mark.parametrize(("epsilon", "steps"), [(2.0, 30), (8.0, 300)])
def test_the_noise_is_the_least_that_keeps_epsilon(epsilon: float, steps: int) -> None:
    from opacus.accountants import RDPAccountant

    noise = least_noise(epsilon, 1e-5, 0.1, steps)
    accountant = RDPAccountant()
    for _ in range(steps):
        accountant.step(noise_multiplier=noise, sample_rate=0.1)
    assert epsilon - 0.01 <= accountant.get_epsilon(1e-5) <= epsilon
    assert spent_epsilon(noise, 1e-5, 0.1, steps) == pytest.approx(accountant.get_epsilon(1e-5))
    assert spent_epsilon(0.98 * noise, 1e-5, 0.1, steps) > epsilon


def test_the_manifests_facts() -> None:
    context = context_for(DPSGD())
    facts = DPSGD(epsilon=3.0).findings(context, {}).facts
    assert facts["noise_multiplier"] == least_noise(3.0, 1e-5, 0.1, 30)
    assert 2.99 <= facts["epsilon"] <= 3.0
    assert facts["delta"] == 1e-5
    (note,) = Stacked(parts=(NegLS(), DPSGD(epsilon=3.0))).findings(context, {}).notes
    assert note == f"Differentially private with epsilon {facts['epsilon']:.2f} at delta 1e-05, for 60 training images."
    assert not DPSGD().findings(context, {}).warnings
    (warning,) = DPSGD(delta=0.1).findings(context, {}).warnings
    assert "no guarantee for 60 images" in warning


def by_hand(model: nn.Module, images: Tensor, labels: Tensor, clip: float, expected_batch: int) -> list[Tensor]:
    """Sum of the clipped gradients of each image alone over the expected batch size."""
    total = [torch.zeros_like(p) for p in model.parameters()]
    for x, y in zip(images, labels, strict=True):
        gradient = torch.autograd.grad(F.cross_entropy(model(x[None]).logits, y[None]), list(model.parameters()))
        norm = torch.cat([g.flatten() for g in gradient]).norm()
        for sum_, g in zip(total, gradient, strict=True):
            sum_ += g * (clip / (norm + 1e-6)).clamp(max=1) / expected_batch
    return total


@pytest.mark.parametrize("network", [TINY, Zoo(name="resnet18")], ids=["tiny", "resnet18"])
def test_an_update_is_the_sum_of_clipped_gradients_and_noise(network: ModelConfig) -> None:
    context = context_for(DPSGD(), network)
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 4, 4])  # a Poisson sample smaller than expected
    expected = by_hand(copy.deepcopy(context.model), images, labels, clip=0.5, expected_batch=6)
    run, update = started(DPSGD(), context), DPSGD(clip=0.5).updater(context)
    assert isinstance(update, NoisyUpdate)
    noise = update.optimizer.noise_multiplier
    assert noise == least_noise(8.0, 1e-5, 0.1, 30)

    def step(noise_multiplier: float) -> list[Tensor]:
        update.optimizer.noise_multiplier = noise_multiplier
        before = [p.detach().clone() for p in context.model.parameters()]
        losses, _ = run.losses(images, labels, epoch=0)
        update(torch.stack(list(losses.values())).sum())
        moved = [b - p.detach() for b, p in zip(before, context.model.parameters(), strict=True)]
        with torch.no_grad():
            for p, b in zip(context.model.parameters(), before, strict=True):
                p.copy_(b)
        return moved

    for found, wanted in zip(step(0.0), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)
    added = torch.cat([(a - b).flatten() for a, b in zip(step(noise), expected, strict=True)])
    assert float(added.std()) == pytest.approx(noise * 0.5 / 6, rel=0.05)
    assert float(added.mean()) == pytest.approx(0, abs=4 * noise * 0.5 / 6 / len(added) ** 0.5)


def test_an_empty_sample_is_a_step_of_noise() -> None:
    context = context_for(DPSGD())
    run, update = started(DPSGD(), context), DPSGD().updater(context)
    assert isinstance(update, NoisyUpdate)
    before = torch.cat([p.detach().flatten() for p in context.model.parameters()])
    losses, _ = run.losses(torch.rand(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64), epoch=0)
    assert [float(loss.detach()) for loss in losses.values()] == [0.0]
    update(torch.stack(list(losses.values())).sum())
    moved = before - torch.cat([p.detach().flatten() for p in context.model.parameters()])
    assert float(moved.std()) == pytest.approx(update.optimizer.noise_multiplier / 6, rel=0.05)


def test_poisson_samples() -> None:
    labels = torch.zeros(500, dtype=torch.int64)
    batches = [rows for seed in range(5) for rows in poisson_samples(labels, 50, torch.Generator().manual_seed(seed))]
    assert len(batches) == 5 * 10
    sizes = torch.tensor([len(rows) for rows in batches]).double()
    assert float(sizes.mean()) == pytest.approx(50, abs=3 * (500 * 0.1 * 0.9 / 50) ** 0.5)
    assert float(sizes.var()) == pytest.approx(500 * 0.1 * 0.9, rel=0.6)
    assert all(len(rows.unique()) == len(rows) for rows in batches)
    times = torch.cat(batches).bincount(minlength=500)
    assert float(times.double().var()) == pytest.approx(50 * 0.1 * 0.9, rel=0.3)  # not once an epoch each


def test_group_norm_takes_the_place_of_batch_norm() -> None:
    for network in (TINY, Zoo(name="resnet18"), Zoo(name="densenet121")):
        net = group_norm_for_batch_norm(network.build(5, 32, 3)).eval()
        assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in net.modules())
        images = torch.rand(3, 3, 32, 32)
        with torch.no_grad():
            alone, together = net(images[:1]).logits, net(images).logits
        torch.testing.assert_close(alone, together[:1])
    fused = group_norm_for_batch_norm(Zoo(name="densenet121").build(5, 32, 3))
    norm = fused.backbone.features.norm0  # type: ignore[union-attr]
    assert isinstance(norm[-1], nn.ReLU)  # type: ignore[index]
    assert norm[0].num_groups == 32  # type: ignore[index, union-attr]


def test_other_defenses_join_it() -> None:
    stack = Stacked(parts=(DPSGD(), NegLS(start_at=0.0, full_at=0.0, smoothing=-0.5)))
    context = context_for(stack)
    run = started(stack, context)
    images, labels = torch.rand(3, 3, 32, 32), torch.tensor([0, 1, 2])
    losses, _ = run.losses(images, labels, epoch=0)
    assert losses["clean"] < F.cross_entropy(context.model(images).logits, labels)


def test_without_opacus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(UserError, match=r"pip install 'trapmid\[dp\]'"):
        least_noise(7.5, 1e-5, 0.1, 30)


def test_layers_that_cannot_be_taken_apart() -> None:
    context = context_for(DPSGD())
    context.model.add_module("statistics", nn.BatchNorm1d(4))
    with pytest.raises(
        UserError, match=r"dpsgd cannot compute the gradients of this network image by image: .*BatchNorm"
    ):
        DPSGD().updater(context)
