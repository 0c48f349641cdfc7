"""Both pairs of networks; the published one, of PLG-MI, is compared parameter by parameter."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from trapmid.priors import SNResNet, Strided
from trapmid.priors.layers import ConditionalBatchNorm
from trapmid.types import UserError

PUBLISHED_CLASSES = 1000


@pytest.fixture(scope="module")
def published() -> tuple[nn.Module, nn.Module]:
    """On the meta device: shapes without memory."""
    with torch.device("meta"):
        return SNResNet().build(PUBLISHED_CLASSES, 64, 3)


def convolutions(module: nn.Module) -> list[tuple[int, int, int]]:
    return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_published_generator(published: tuple[nn.Module, nn.Module]) -> None:
    generator, _ = published
    shapes = {name: tuple(value.shape) for name, value in generator.named_parameters()}
    assert shapes["project.weight"] == (1024 * 4 * 4, 128)
    widths = [1024, 512, 256, 128, 64]
    expected = [c for a, b in pairwise(widths) for c in ((a, b, 3), (b, b, 3), (a, b, 1))]
    assert sorted(convolutions(generator)) == sorted([*expected, (64, 3, 1)])
    conditional = [m for m in generator.modules() if isinstance(m, ConditionalBatchNorm)]
    assert [tuple(m.scale.weight.shape) for m in conditional] == [
        (1000, c) for a, b in pairwise(widths) for c in (a, b)
    ]
    assert [tuple(m.shift.weight.shape) for m in conditional] == [tuple(m.scale.weight.shape) for m in conditional]
    assert all(not m.norm.affine for m in conditional)


def test_published_discriminator(published: tuple[nn.Module, nn.Module]) -> None:
    _, discriminator = published
    widths = [64, 128, 256, 512, 1024]
    expected = [(3, 64, 3), (64, 64, 3), (3, 64, 1)] + [
        c for a, b in pairwise(widths) for c in ((a, a, 3), (a, b, 3), (a, b, 1))
    ]
    assert convolutions(discriminator) == expected
    assert (discriminator.linear.in_features, discriminator.linear.out_features) == (1024, 1)
    assert (discriminator.embedding.num_embeddings, discriminator.embedding.embedding_dim) == (1000, 1024)


@pytest.mark.parametrize("networks", [SNResNet(width=2), Strided(width=4)])
def test_every_discriminator_layer_is_spectrally_normalised(networks: SNResNet | Strided) -> None:
    _, discriminator = networks.build(5, 64, 3)
    layers = [m for m in discriminator.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.Embedding))]
    assert layers
    for layer in layers:
        assert is_parametrized(layer, "weight")
        for _ in range(30):  # power iteration runs in training mode
            weight = layer.weight
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("networks", [SNResNet(width=2), Strided(width=4)])
def test_conditional_batch_norm_starts_as_plain_batch_norm(networks: SNResNet | Strided) -> None:
    generator, _ = networks.build(5, 64, 3)
    for norm in (m for m in generator.modules() if isinstance(m, ConditionalBatchNorm)):
        assert bool((norm.scale.weight == 1).all())
        assert bool((norm.shift.weight == 0).all())
    norm = ConditionalBatchNorm(6, 5)
    x = 3 + 2 * torch.randn(8, 6, 4, 4)
    torch.testing.assert_close(norm(x, torch.randint(5, (8,))), nn.BatchNorm2d(6)(x))


def test_conditional_batch_norm_scales_and_shifts_by_label() -> None:
    norm = ConditionalBatchNorm(2, 3).eval()
    with torch.no_grad():
        norm.scale.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 3.0], [0.0, 0.0]]))
        norm.shift.weight.copy_(torch.tensor([[0.0, 0.0], [5.0, 7.0], [1.0, 1.0]]))
    x = torch.ones(3, 2, 1, 1) / (1 + 1e-5) ** -0.5
    out = norm(x, torch.tensor([0, 1, 2])).flatten(1)
    torch.testing.assert_close(out, torch.tensor([[1.0, 1.0], [7.0, 10.0], [1.0, 1.0]]), atol=1e-5, rtol=0)


def test_sn_resnet_makes_64_px_images_and_refuses_others() -> None:
    generator, discriminator = SNResNet(width=2, latent_size=8).build(5, 64, 3)
    labels = torch.tensor([0, 4, 2])
    seen: list[tuple[int, ...]] = []
    generator.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    images = generator(torch.randn(3, 8), labels).detach()
    assert seen == [(3, 32, 4, 4)]  # 16 x width; 1024 x 4 x 4 at the published 64
    assert images.shape == (3, 3, 64, 64)
    assert float(images.abs().max()) <= 1
    assert discriminator(images, labels).shape == (3,)
    with pytest.raises(UserError, match=r"for 64 px; image_size is 32\. Use networks\.kind=strided"):
        SNResNet().build(5, 32, 3)


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 3), (28, 1)])
def test_strided_pair_fits_the_image(size: int, channels: int) -> None:
    generator, discriminator = Strided(width=4, widest=16, latent_size=8).build(5, size, channels)
    labels = torch.tensor([0, 4, 2])
    images = generator(torch.randn(3, 8), labels)
    assert images.shape == (3, channels, size, size)
    assert 0 < float(images.detach().min()) < float(images.detach().max()) < 1
    verdict = discriminator(images, labels)
    assert verdict.shape == (3,)
    verdict.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in generator.parameters())


@pytest.mark.parametrize("networks", [SNResNet(width=2, latent_size=8), Strided(width=4, latent_size=8)])
def test_discriminator_projects_onto_the_label(networks: SNResNet | Strided) -> None:
    """D(x, y) - D(x, y') is (e_y - e_y') . h, so three labels' verdicts differ by differences of two embeddings."""
    _, discriminator = networks.build(3, 64, 3)
    discriminator.eval()
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 64).expand(3, -1, -1, -1)
        verdicts = discriminator(image, torch.arange(3))
        without = verdicts - discriminator.linear.bias
        discriminator.linear.bias += 1
        torch.testing.assert_close(
            discriminator(image, torch.arange(3)) - verdicts, torch.ones(3), atol=1e-4, rtol=1e-4
        )
        discriminator.linear.bias -= 1
        images = torch.rand(4, 3, 64, 64)
        first, second = (discriminator(images, torch.full((4,), y)) for y in (0, 1))
    assert len(set(without.tolist())) == 3
    assert not torch.allclose(first - second, (first - second)[0].expand(4))
