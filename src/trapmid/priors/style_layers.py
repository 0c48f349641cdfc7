"""Layers of StyleGAN2 (Karras et al., CVPR 2020): equalised learning rates, modulated convolution, noise.

Weights are stored unscaled and under the names of the official networks, so that official weights can be loaded.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.priors.resampling import blur, downsample, low_pass

GAIN = math.sqrt(2)
"""Compensates for leaky ReLU, which halves the variance."""


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times the square root of 2."""
    return F.leaky_relu(x, 0.2) * GAIN


class Dense(nn.Module):
    """A linear layer with an equalised learning rate.

    Args:
        before: number of inputs.
        after: number of outputs.
        bias: initial value of the biases.
        slowness: factor of the learning rate, which is 0.01 in the mapping network.
    """

    def __init__(self, before: int, after: int, *, bias: float = 0.0, slowness: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / slowness)
        self.bias = nn.Parameter(torch.full((after,), bias))
        self.weight_gain, self.bias_gain = slowness / math.sqrt(before), slowness

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, before) to (n, after)."""
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)


def modulated_convolution(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, transposed: bool = False
) -> Tensor:
    """A convolution whose kernel is scaled per image (StyleGAN2 Eq. 1-3).

    The published form computes one kernel per image and uses a grouped convolution. Scaling the inputs before and the
    outputs after a convolution that all images share gives the same numbers. On a CPU with frozen weights, it takes a
    half to a third of the time.

    Args:
        x: (n, before, h, w).
        weight: (after, before, k, k), k odd.
        style: (n, before), the scale of every input channel.
        demodulate: whether to divide every output channel by the norm of its scaled kernel.
        transposed: whether to insert a zero after every sample of x first. The output is then
            (n, after, 2 h + k - 2, 2 w + k - 2).
    """
    scaled = x * style[:, :, None, None]
    if transposed:
        y = F.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2)
    else:
        y = F.conv2d(scaled, weight, padding=weight.shape[2] // 2)
    if not demodulate:
        return y
    squares = style.square() @ weight.square().sum((2, 3)).T
    return y * (squares + 1e-8).rsqrt()[:, :, None, None]


class StyledConvolution(nn.Module):
    """A modulated 3x3 convolution with optional upsampling by two, then noise, bias and activation.

    Noise is random in training and fixed in evaluation, so that a picture is a function of its styles.
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(self, before: int, after: int, style_size: int, side: int, *, up: bool) -> None:
        super().__init__()
        self.up, self.side = up, side
        self.affine = Dense(style_size, before, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(after))
        self.register_buffer("resample_filter", low_pass())
        self.register_buffer("noise_const", torch.randn(side, side))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (n, before, h, w) and styles (n, style_size) to (n, after, side, side)."""
        y = modulated_convolution(x, self.weight, self.affine(style), transposed=self.up)
        if self.up:
            y = blur(y, 4 * self.resample_filter, padding=1)
        drawn = torch.randn(len(y), 1, self.side, self.side, device=y.device) if self.training else self.noise_const
        return activate(y + drawn * self.noise_strength + self.bias[:, None, None])


class ToPicture(nn.Module):
    """A modulated 1x1 convolution to the channels of a picture, without demodulation."""

    def __init__(self, before: int, channels: int, style_size: int) -> None:
        super().__init__()
        self.affine = Dense(style_size, before, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, before, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.gain = 1 / math.sqrt(before)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (n, before, h, w) and styles (n, style_size) to (n, channels, h, w)."""
        y = modulated_convolution(x, self.weight, self.affine(style) * self.gain, demodulate=False)
        return y + self.bias[:, None, None]


class Convolution(nn.Module):
    """The discriminator's convolution, with an equalised learning rate. If it halves the map, it blurs it first."""

    resample_filter: Tensor

    def __init__(self, before: int, after: int, kernel: int, *, down: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.gain, self.down, self.kernel = 1 / math.sqrt(before * kernel**2), down, kernel
        self.register_buffer("resample_filter", low_pass())

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, before, h, w) to (n, after, h, w), or to half the height and width."""
        weight = self.weight * self.gain
        if not self.down:
            return F.conv2d(x, weight, self.bias, padding=self.kernel // 2)
        if self.kernel == 1:
            return F.conv2d(downsample(x, self.resample_filter), weight, self.bias)
        return F.conv2d(blur(x, self.resample_filter, padding=2), weight, self.bias, stride=2)
