"""The bottleneck of MID: its KL divergence against torch's, its draws, and what of VGG-16 it leaves out."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

import helpers_attacks
from helpers.faces import CPU, TINY
from helpers.settings import network_of
from trapmid.attacks import attack, open_found
from trapmid.defenses import MID
from trapmid.defenses.mid import BottleneckNet, divergence
from trapmid.models import VGG16
from trapmid.objective import CROSS_ENTROPY, Objective
from trapmid.types import UserError


def test_divergence_is_torchs() -> None:
    mean, deviation = torch.randn(4, 6, dtype=torch.float64), torch.rand(4, 6, dtype=torch.float64) * 3 + 0.01
    normal, standard = (
        Independent(Normal(a, b), 1) for a, b in ((mean, deviation), (torch.zeros_like(mean), torch.ones_like(mean)))
    )
    torch.testing.assert_close(divergence(mean, deviation), kl_divergence(normal, standard))


def test_prediction_and_loss() -> None:
    net = network_of(MID(width=12, weight=0.5, features="drawn"), TINY.build(5, 32, 3))
    assert isinstance(net, BottleneckNet)
    images, labels = torch.rand(3, 3, 32, 32), torch.tensor([0, 1, 4])
    net.eval()
    torch.manual_seed(5)
    prediction = net(images)
    assert prediction.posterior is not None
    mean, deviation = prediction.posterior
    encoded = net.encoder(net.body(images).features)
    torch.testing.assert_close(mean, encoded[:, :12])
    torch.testing.assert_close(deviation, F.softplus(encoded[:, 12:] - 5))
    torch.manual_seed(5)
    torch.testing.assert_close(prediction.features, mean + deviation * torch.randn(3, 12))
    torch.testing.assert_close(prediction.logits, net.head(prediction.features))
    assert prediction.logits.shape == (3, 5)

    losses = Objective(terms=MID(width=12, weight=0.5).changes().terms).of(prediction, images, labels)
    assert losses.keys() == {"clean", "information"}
    torch.testing.assert_close(losses["information"], 0.5 * divergence(mean, deviation).mean())
    torch.testing.assert_close(losses["clean"], F.cross_entropy(prediction.logits, labels))


def test_it_draws_at_test_time_too() -> None:
    net = network_of(MID(), TINY.build(5, 32, 3)).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.manual_seed(0)
        one, other = net(images).logits, net(images).logits
        torch.manual_seed(0)
        again = net(images).logits
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_on_vgg16_it_reads_the_pooled_maps() -> None:
    net = network_of(MID(), VGG16().build(5, 32, 3))
    assert isinstance(net, BottleneckNet)
    assert (net.encoder.in_features, net.encoder.out_features, net.head.in_features) == (512, 2048, 1024)  # type: ignore[union-attr]
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in net.modules())
    assert net(torch.rand(2, 3, 32, 32)).logits.shape == (2, 5)


def test_attacked_with_the_same_seed_it_gives_the_same_away(tmp_path: Path) -> None:
    """Pseudo-labels, search and final confidence all hang on its draws; none of them on the caller's random state."""
    model = network_of(MID(width=16), helpers_attacks.TINY.build(4, 32, 3)).eval()
    gan = helpers_attacks.TINY_GAN.model_copy(update={"iterations": 2, "log_every": 1})
    method = helpers_attacks.PLGMI_TINY.model_copy(update={"prior": gan, "search_steps": 2})
    public = helpers_attacks.faces(6, 3, first=100)
    for seed in (1, 2):
        torch.manual_seed(seed)
        target = helpers_attacks.target_of(model)
        attack(tmp_path / str(seed), target, public, method=method, identities=tuple("abcd"), parents={}, compute=CPU)
    one, other = (open_found(tmp_path / name)[0] for name in ("1", "2"))
    assert torch.equal(one.pixels, other.pixels)
    assert torch.equal(one.confidence, other.confidence)


def test_a_network_without_its_head_is_told() -> None:
    assert (MID().weight, MID().width) == (0.003, 1024)
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    with pytest.raises(
        UserError,
        match=r"mid reads the bottleneck of a classifier, and this classifier has none\. "
        r"Train `MID\(\)\.with_bottleneck",
    ):
        CROSS_ENTROPY.with_term(MID().information).of(TINY.build(5, 32, 3)(images), images, labels)
