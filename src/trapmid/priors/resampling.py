"""Resampling by two with a low-pass filter against aliasing (StyleGAN2, Karras et al. 2020, and Zhang 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = (1.0, 3.0, 3.0, 1.0)
"""The binomial filter of the published networks."""


def low_pass(taps: Sequence[float] = TAPS) -> Tensor:
    """The filter (k, k): the outer product of the taps with themselves, normalised to a sum of 1."""
    kernel = torch.outer(torch.tensor(taps), torch.tensor(taps))
    return kernel / kernel.sum()


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Upsample (n, c, h, w) to (n, c, 2 h, 2 w): insert a zero after every sample, then apply four times the filter.

    Args:
        x: maps.
        kernel: (4, 4), symmetric.
    """
    return F.conv_transpose2d(x, _for_each_channel(4 * kernel, x), stride=2, padding=1, groups=x.shape[1])


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Downsample (n, c, h, w) to (n, c, h / 2, w / 2): apply the filter, then keep every second sample."""
    return F.conv2d(x, _for_each_channel(kernel, x), stride=2, padding=1, groups=x.shape[1])


def blur(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Pad (n, c, h, w) with zeros and apply the filter. The output is (n, c, h + 2 padding - 3, w + 2 padding - 3)."""
    return F.conv2d(x, _for_each_channel(kernel, x), padding=padding, groups=x.shape[1])


def _for_each_channel(kernel: Tensor, x: Tensor) -> Tensor:
    return kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
