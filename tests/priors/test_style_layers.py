"""Modulated convolution and resampling, each against a plain version of itself.

The networks' shapes and official names.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import upfirdn
from torch import Tensor
from torch.nn import functional as F

from trapmid.priors.resampling import TAPS, blur, downsample, low_pass, upsample
from trapmid.priors.style_layers import Convolution, Dense, StyledConvolution, modulated_convolution
from trapmid.priors.style_networks import Mapping, StyleDiscriminator, Synthesis, batch_deviation


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=rng(seed))


def image_by_image(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, transposed: bool) -> Tensor:
    """StyleGAN2 Eq. 1-3 as written: a kernel of its own for every image."""
    outputs = []
    for image, scales in zip(x, style, strict=True):
        kernel = weight * scales[None, :, None, None]
        if demodulate:
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if transposed:
            outputs.append(F.conv_transpose2d(image[None], kernel.transpose(0, 1), stride=2))
        else:
            outputs.append(F.conv2d(image[None], kernel, padding=kernel.shape[2] // 2))
    return torch.cat(outputs)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 3]), st.booleans(), st.booleans())
def test_modulated_convolution_is_the_loop_over_images(
    n: int, before: int, after: int, kernel: int, demodulate: bool, transposed: bool
) -> None:
    x, weight, style = double(n, before, 5, 5), double(after, before, kernel, kernel, seed=1), double(n, before, seed=2)
    found = modulated_convolution(x, weight, style, demodulate=demodulate, transposed=transposed)
    side = 2 * 5 + kernel - 2 if transposed else 5
    assert found.shape == (n, after, side, side)
    if n:
        torch.testing.assert_close(found, image_by_image(x, weight, style, demodulate, transposed))


def test_modulated_convolution_in_groups_is_the_published_form() -> None:
    """One grouped convolution with a kernel per image, and its gradients."""
    x, weight, style = (
        t.requires_grad_() for t in (double(3, 4, 6, 6), double(5, 4, 3, 3, seed=1), double(3, 4, seed=2))
    )
    kernels = weight[None] * style[:, None, :, None, None]
    kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    grouped = F.conv2d(x.reshape(1, 12, 6, 6), kernels.reshape(15, 4, 3, 3), padding=1, groups=3).view(3, 5, 6, 6)
    found = modulated_convolution(x, weight, style)
    torch.testing.assert_close(found, grouped)
    probe = double(3, 5, 6, 6, seed=3)
    for ours, published in zip(
        torch.autograd.grad((found * probe).sum(), (x, weight, style)),
        torch.autograd.grad((grouped * probe).sum(), (x, weight, style)),
        strict=True,
    ):
        torch.testing.assert_close(ours, published)


def test_low_pass_sums_to_one() -> None:
    kernel = low_pass()
    assert float(kernel.sum()) == pytest.approx(1)
    assert torch.equal(kernel, kernel.T)
    assert kernel[0].tolist() == pytest.approx([1 / 64, 3 / 64, 3 / 64, 1 / 64])


def both_ways(x: np.ndarray, up: int, down: int, padding: tuple[int, int], gain: float) -> np.ndarray:
    """scipy's upfirdn along rows, then columns.

    The zeros that `padding` asks for beside the signal are added before filtering.
    """
    taps = np.array(TAPS) / sum(TAPS) * gain**0.5
    for axis in (0, 1):
        x = np.apply_along_axis(lambda line: _line(line, taps, up, down, padding), axis, x)
    return x


def _line(line: np.ndarray, taps: np.ndarray, up: int, down: int, padding: tuple[int, int]) -> np.ndarray:
    spread = np.zeros(len(line) * up)
    spread[::up] = line
    padded = np.pad(spread, padding)
    return upfirdn(taps, padded)[len(taps) - 1 : len(padded)][::down]


def test_resampling_is_scipys() -> None:
    x, kernel = double(2, 3, 8, 8), low_pass().double()
    for function, (up, down, padding, gain) in {
        upsample: (2, 1, (2, 1), 4.0),
        downsample: (1, 2, (1, 1), 1.0),
        lambda x, k: blur(x, k, padding=2): (1, 1, (2, 2), 1.0),
    }.items():
        found = function(x, kernel)
        for image, expected in zip(found.flatten(0, 1).numpy(), x.flatten(0, 1).numpy(), strict=True):
            np.testing.assert_allclose(image, both_ways(expected, up, down, padding, gain), atol=1e-7)


def test_resampling_keeps_a_flat_picture() -> None:
    flat, kernel = torch.ones(1, 2, 8, 8), low_pass()
    torch.testing.assert_close(upsample(flat, kernel)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 12, 12))
    torch.testing.assert_close(downsample(flat, kernel)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))


def test_dense_is_scaled_when_used() -> None:
    layer = Dense(9, 4, bias=2.0, slowness=0.01)
    x = torch.randn(5, 9, generator=rng())
    torch.testing.assert_close(layer(x), x @ (layer.weight * 0.01 / 3).T + 0.02)
    assert float(Dense(400, 400).weight.detach().std()) == pytest.approx(1, abs=0.02)


def test_a_styled_convolution_keeps_the_variance() -> None:
    """Demodulation, and the gain of the activation: normal maps in, maps of mean square 1 out, whatever the styles."""
    layer = StyledConvolution(64, 64, 8, 16, up=False).eval()
    with torch.no_grad():
        for strength in (0.1, 10.0):
            out = layer(torch.randn(4, 64, 16, 16, generator=rng()), strength * torch.randn(4, 8, generator=rng(1)))
            assert float(out[:, :, 1:-1, 1:-1].square().mean()) == pytest.approx(1, rel=0.1)


def test_noise_is_fixed_in_evaluation_and_new_in_training() -> None:
    layer = StyledConvolution(4, 4, 8, 8, up=True)
    with torch.no_grad():
        layer.noise_strength.fill_(1.0)
        x, style = torch.randn(2, 4, 4, 4, generator=rng()), torch.randn(2, 8, generator=rng(1))
        assert torch.equal(layer.eval()(x, style), layer(x, style))
        assert not torch.equal(layer.train()(x, style), layer(x, style))
        assert layer(x, style).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("kernel", [1, 3])
def test_halving_convolution_is_filter_then_convolution(kernel: int) -> None:
    layer = Convolution(3, 5, kernel, down=True)
    x = torch.randn(2, 3, 8, 8, generator=rng())
    weight = layer.weight / (3 * kernel**2) ** 0.5
    padded = F.pad(x, [1 + kernel // 2] * 4)
    filtered = F.conv2d(padded, low_pass().expand(3, 1, 4, 4), groups=3)
    expected = F.conv2d(filtered, weight, layer.bias)[:, :, ::2, ::2]
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(("n", "group"), [(8, 4), (4, 4), (6, 6), (1, 1)])
def test_batch_deviation_is_the_plain_loop(n: int, group: int) -> None:
    x = double(n, 3, 4, 4)
    found = batch_deviation(x)
    assert found.shape == (n, 1, 4, 4)
    for i in range(n):
        members = x[i % (n // group) :: n // group].numpy()
        expected = np.sqrt(members.var(axis=0) + 1e-8).mean()
        assert found[i, 0].numpy() == pytest.approx(np.full((4, 4), expected))


def test_mapping_normalises_latents() -> None:
    mapping = Mapping(6, 5, 2)
    z = torch.randn(4, 6, generator=rng())
    torch.testing.assert_close(mapping(z), mapping(7 * z), atol=1e-6, rtol=1e-4)
    assert mapping(z).shape == (4, 5)


def test_synthesis_stops_and_goes_on() -> None:
    synthesis = Synthesis(32, 3, 6, 64, 16).eval()
    assert synthesis.sides == [4, 8, 16, 32]
    styles = torch.randn(2, synthesis.layers, 6, generator=rng())
    whole = synthesis(styles)
    assert whole.blocks == 4
    assert whole.picture.shape == (2, 3, 32, 32)
    for blocks in (1, 2, 3):
        middle = synthesis(styles, stop=blocks)
        assert middle.blocks == blocks
        assert middle.maps.shape[2:] == middle.picture.shape[2:] == (4 * 2 ** (blocks - 1),) * 2
        torch.testing.assert_close(synthesis(styles, middle).picture, whole.picture)


def test_every_layer_takes_its_own_style() -> None:
    synthesis = Synthesis(16, 1, 4, 64, 8).eval()
    assert synthesis.layers == 6
    styles = torch.randn(1, 6, 4, generator=rng()).requires_grad_()
    (gradient,) = torch.autograd.grad(synthesis(styles).picture.square().sum(), styles)
    assert bool((gradient.abs().sum(2) > 0).all())
    one = torch.randn(1, 4, generator=rng())
    torch.testing.assert_close(synthesis(one).picture, synthesis(one[:, None].expand(-1, 6, -1)).picture)


def test_names_and_shapes_are_the_official_ones() -> None:
    """Of the 1024 px FFHQ network (capacity 32768, at most 512 channels), as its state dict lists them."""
    with torch.device("meta"):
        synthesis, mapping = Synthesis(1024, 3, 512, 32_768, 512), Mapping(512, 512, 8)
    shapes = {name: tuple(value.shape) for name, value in synthesis.state_dict().items()}
    assert synthesis.layers == 18
    assert shapes["b4.const"] == (512, 4, 4)
    assert {name for name in shapes if name.startswith("b4.")} == {
        "b4.const",
        "b4.resample_filter",
        *(f"b4.conv1.{part}" for part in OF_A_CONVOLUTION),
        *(f"b4.torgb.{part}" for part in OF_TO_RGB),
    }
    assert {name for name in shapes if name.startswith("b1024.")} == {
        "b1024.resample_filter",
        *(f"b1024.conv{i}.{part}" for i in (0, 1) for part in OF_A_CONVOLUTION),
        *(f"b1024.torgb.{part}" for part in OF_TO_RGB),
    }
    assert shapes["b1024.conv0.weight"] == (32, 64, 3, 3)
    assert shapes["b1024.conv0.affine.weight"] == (64, 512)
    assert shapes["b1024.conv1.noise_const"] == (1024, 1024)
    assert shapes["b1024.conv1.noise_strength"] == ()
    assert shapes["b1024.torgb.weight"] == (3, 32, 1, 1)
    assert {name: tuple(value.shape) for name, value in mapping.state_dict().items()} == {
        "w_avg": (512,),
        **{f"fc{i}.weight": (512, 512) for i in range(8)},
        **{f"fc{i}.bias": (512,) for i in range(8)},
    }


OF_A_CONVOLUTION = (
    "weight",
    "bias",
    "noise_const",
    "noise_strength",
    "resample_filter",
    "affine.weight",
    "affine.bias",
)
OF_TO_RGB = ("weight", "bias", "affine.weight", "affine.bias")


def test_discriminator_answers_for_every_image() -> None:
    discriminator = StyleDiscriminator(16, 3, 64, 8)
    images = torch.rand(4, 3, 16, 16, generator=rng())
    assert discriminator(images).shape == (4,)
    assert len(discriminator.blocks) == 2
