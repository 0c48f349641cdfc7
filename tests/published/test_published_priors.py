"""PLG-MI's pair and KED-MI's minibatch discrimination, against the formulas of the authors' programs, in float64."""

import math

import pytest
import torch
from torch import nn

from trapmid.engine import randomness
from trapmid.priors import CGAN, DCGAN, TACGAN, SemiGAN, SNResNet
from trapmid.priors.sn_resnet import SNResNetClassifier, SNResNetDiscriminator, SNResNetGenerator
from trapmid.types import UserError


@pytest.fixture(scope="module")
def pair() -> tuple[SNResNetGenerator, SNResNetDiscriminator]:
    with randomness(0, "published pair"):
        generator, discriminator = SNResNet(width=8, latent_size=16).build(5, 64, 3)
    assert isinstance(generator, SNResNetGenerator)
    assert isinstance(discriminator, SNResNetDiscriminator)
    return generator, discriminator


def fan_in(weight: torch.Tensor) -> int:
    return weight[0].numel()


def test_the_generator_starts_as_torch_starts_layers(pair: tuple[SNResNetGenerator, SNResNetDiscriminator]) -> None:
    for layer in pair[0].modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = fan_in(layer.weight) ** -0.5
            assert 0.9 * bound < float(layer.weight.abs().max()) <= bound
            assert 0 < float(layer.bias.abs().max()) <= bound  # type: ignore[union-attr]


def test_the_discriminator_starts_with_xaviers_weights_and_torchs_biases(
    pair: tuple[SNResNetGenerator, SNResNetDiscriminator],
) -> None:
    seen = 0
    for name, layer in pair[1].named_modules():
        if not hasattr(layer, "parametrizations"):
            continue
        weight = layer.parametrizations.weight.original  # type: ignore[union-attr]
        field = weight[0][0].numel() if weight.ndim > 2 else 1
        gain = 2**0.5 if name.endswith(("conv1", "conv2")) else 1.0
        bound = gain * math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * field))
        assert 0.85 * bound < float(weight.abs().max()) <= bound, name
        if not isinstance(layer, nn.Embedding):
            assert 0 < float(layer.bias.abs().max()) <= fan_in(weight) ** -0.5  # type: ignore[union-attr, operator]
        norm = layer.parametrizations.weight[0]  # type: ignore[union-attr, index]
        assert float(norm._u.norm()) == pytest.approx(1, abs=1e-5)
        seen += 1
    assert seen == 5 * 3 + 2


def test_an_iteration_takes_eleven_power_iterations() -> None:
    """One of the generator's step, then two in each of five steps of the discriminator: generated, then real images."""
    from helpers_attacks import CPU, faces
    from trapmid.priors import PriorTraining, Strided
    from trapmid.priors.cgan import CGANFit

    def passes(config: CGAN) -> list[int]:
        fit = CGANFit(config, PriorTraining(faces(2, 4), 2, 0, CPU))
        sizes: list[int] = []
        fit.discriminator.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
        fit.step(0)
        return sizes

    config = CGAN(networks=Strided(width=4, widest=8, latent_size=4), batch_size=4, iterations=1)
    assert passes(config) == [4] * 11
    assert passes(config.model_copy(update={"verdicts": "together"})) == [4, *[8] * 5]


def test_minibatch_discrimination_is_salimans_sum_over_the_batch() -> None:
    with randomness(0, "minibatch"):
        discriminator = SemiGAN(width=2).pair(3, 32, 3).discriminator.double()
    minibatch = discriminator.minibatch
    assert float(minibatch.spaces.weight.std()) == pytest.approx(1, abs=0.02)
    assert float(minibatch.spaces.weight.mean()) == pytest.approx(0, abs=0.02)
    x = 1e-3 * torch.randn(4, minibatch.spaces.in_features, dtype=torch.float64)
    tensor = minibatch.spaces.weight.view(64, 50, -1)  # o, d, features
    points = torch.einsum("nf,odf->nod", x, tensor)
    expected = torch.zeros(4, 64, dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            expected[i] += (-(points[i] - points[j]).abs().sum(1)).exp()
    for module in (minibatch.train(), minibatch.eval()):  # in a search, too, it looks at the batch
        torch.testing.assert_close(module(x), expected - 1)
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    seen = discriminator(images)
    o = minibatch(seen.features)
    torch.testing.assert_close(seen.logits, discriminator.head(torch.cat([seen.features, o], 1)))
    assert float(o.abs().max()) < 1e-6  # numerically nothing for ordinary images at first
    assert "minibatch.company" not in discriminator.state_dict()


def test_lokts_discriminator_has_plg_mis_blocks_and_two_plain_heads() -> None:
    network = TACGAN(networks=SNResNet(width=2, latent_size=4)).pair(3, 64, 3).discriminator
    assert isinstance(network, SNResNetClassifier)
    assert not hasattr(network.classes, "parametrizations")
    assert not hasattr(network.real, "parametrizations")
    assert hasattr(network.blocks[0].conv1, "parametrizations")
    images = torch.rand(2, 3, 64, 64)
    maps = network.eval().blocks(images)
    seen = network(images)
    torch.testing.assert_close(seen.features, maps.relu().sum((2, 3)))
    torch.testing.assert_close(seen.logits[:, :3], network.classes(seen.features))
    torch.testing.assert_close(seen.logits[:, 3:], network.real(seen.features))


def test_lokts_constants_and_warm_up() -> None:
    from helpers_attacks import CPU, TINY_TACGAN, faces
    from trapmid.priors import PriorTraining, Strided
    from trapmid.priors.tacgan import TACGANFit

    published = TACGAN()
    assert (published.iterations, published.batch_size, published.discriminator_steps) == (20_000, 128, 5)
    assert (published.class_weight, published.warm_up, published.rate, published.betas) == (1.5, 1_000, 2e-4, (0, 0.9))
    asked: list[int] = []

    def labeller(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return torch.zeros(len(images), dtype=torch.int64)

    config = TINY_TACGAN.model_copy(update={"warm_up": 2, "class_weight": 1.5})
    fit = TACGANFit(config, PriorTraining(faces(2, 4), 2, 0, CPU), labeller)
    for number, terms in (
        (0, {"generator", "discriminator"}),
        (2, {"generator", "class", "discriminator", "told", "as_asked"}),
    ):
        assert set(fit.step(number)) == terms
    assert asked == [config.batch_size]
    with pytest.raises(UserError, match=r"takes the blocks of the sn-resnet networks, and networks\.kind is strided"):
        TACGAN(networks=Strided()).pair(3, 64, 3)


def test_the_critic_of_gmi_compares_no_images() -> None:
    """GMI's prior has no minibatch discrimination, so the choice of company is KED-MI's alone."""
    assert not any("minibatch" in name for name, _ in DCGAN(width=2).pair(2, 32, 3).discriminator.named_modules())
