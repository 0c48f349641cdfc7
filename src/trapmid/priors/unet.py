"""The U-Net that predicts the noise in an image (Ho et al. 2020; Dhariwal & Nichol 2021), by time step and label."""

import math
from typing import Annotated, Literal, TypeAlias, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import Config, Count, Width
from trapmid.types import Images, Labels, UserError

_Heads: TypeAlias = Annotated[int, Field(ge=1, le=64)]
_Patch: TypeAlias = Annotated[int, Field(ge=1, le=16)]


@final
class UNet(Config):
    """`unet`: a U-Net of residual blocks with attention; the defaults are Diff-MI's constants for 64 px.

    Attributes:
        width: channels at full resolution.
        multiples: channels of each resolution in multiples of `width`. Each resolution is half of the one before.
        blocks: residual blocks of each resolution on the way down; there is one more on the way up.
        attention: sides in pixels of the maps that have self-attention after each block.
        heads: number of heads of the attention.
        patch: side of the square of pixels that becomes one position before the first layer. At 1, as published, each
            pixel is one. At 2, a network takes about a quarter of the time.
    """

    paper = "Diff-MI (Li et al. 2024); Dhariwal & Nichol 2021"
    kind: Literal["unet"] = "unet"
    width: Width = 128
    multiples: tuple[Count, ...] = (1, 2, 3, 4)
    blocks: Count = 3
    attention: tuple[Count, ...] = (16, 8)
    heads: _Heads = 4
    patch: _Patch = 1

    def check_size(self, image_size: int) -> None:
        """Each resolution has to be a whole number of positions.

        Raises:
            UserError: the size is not a multiple of `patch` and of a factor of two for each halving.
        """
        multiple = self.patch * 2 ** (len(self.multiples) - 1)
        if image_size % multiple:
            raise UserError(
                f"This U-Net takes images whose side is a multiple of {multiple} px; these have {image_size} px. "
                "Choose another image_size or fewer multiples."
            )

    def build(self, num_classes: int, image_size: int, channels: int) -> "UNetNetwork":
        """The network with random weights, which begins as the prediction 0."""
        self.check_size(image_size)
        return UNetNetwork(self, num_classes, image_size, channels)


@final
class UNetNetwork(nn.Module):
    """Predicts the noise in images, given their time steps and labels.

    Attributes:
        label: (num_classes + 1, 4 width), the embeddings of the labels. The last row stands for no label.
        middle: the blocks at the lowest resolution.
    """

    def __init__(self, config: UNet, num_classes: int, image_size: int, channels: int) -> None:
        super().__init__()
        self.patch, self.frequencies, inner = config.patch, config.width, 4 * config.width
        width, side, heads = config.width, image_size // config.patch, config.heads
        self.label = nn.Embedding(num_classes + 1, inner)
        self.time = nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, inner))
        flat = channels * config.patch**2
        self.first = nn.Conv2d(flat, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, now = [width], width
        for level, multiple in enumerate(config.multiples):
            for _ in range(config.blocks):
                self.down.append(Stage(now, multiple * width, inner, heads if side in config.attention else 0))
                now = multiple * width
                skips.append(now)
            if level < len(config.multiples) - 1:
                self.down.append(Halved(now))
                skips.append(now)
                side //= 2
        self.middle = nn.ModuleList([Stage(now, now, inner, heads), Stage(now, now, inner, 0)])
        for level, multiple in reversed(list(enumerate(config.multiples))):
            for _ in range(config.blocks + 1):
                attends = heads if side in config.attention else 0
                self.up.append(Stage(now + skips.pop(), multiple * width, inner, attends))
                now = multiple * width
            if level > 0:
                self.up.append(Doubled(now))
                side *= 2
        self.last = nn.Sequential(norm(now), nn.SiLU(), zero(nn.Conv2d(now, flat, 3, padding=1)))

    def forward(self, noisy: Images, times: Tensor, labels: Labels) -> Images:
        """The noise (n, c, h, w) in `noisy` (n, c, h, w) at the time steps (n,), for labels (n,)."""
        code = self.time(sinusoids(times, self.frequencies)) + self.label(labels)
        x = self.first(F.pixel_unshuffle(noisy, self.patch))
        skips = [x]
        for layer in self.down:
            x = layer(x, code)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, code)
        for layer in self.up:
            x = layer(torch.cat([x, skips.pop()], 1) if isinstance(layer, Stage) else x, code)
        return F.pixel_shuffle(self.last(x), self.patch)


class Stage(nn.Module):
    """A residual block, whose second norm is scaled and shifted by the code, and self-attention after it.

    Args:
        before: channels of the input.
        after: channels of the output.
        code: length of the code.
        heads: heads of the attention; 0 for none.
    """

    def __init__(self, before: int, after: int, code: int, heads: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(code, 2 * after))
        self.norm = norm(after)
        self.leave = nn.Sequential(nn.SiLU(), zero(nn.Conv2d(after, after, 3, padding=1)))
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)
        self.attention = Attention(after, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Maps (n, after, h, w) of maps (n, before, h, w) and codes (n, code)."""
        scale, shift = self.modulation(code)[:, :, None, None].chunk(2, 1)
        inner = self.norm(self.enter(x)) * (1 + scale) + shift
        return self.attention(self.skip(x) + self.leave(inner))


class Attention(nn.Module):
    """Self-attention over all positions of a map, added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, norm(width)
        self.project, self.leave = nn.Conv2d(width, 3 * width, 1), zero(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, width, h, w), as the input."""
        query, key, value = self.project(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).mT.unbind(1)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.leave(mixed.mT.flatten(1, 2).unflatten(2, x.shape[2:]))


class Halved(nn.Module):
    """A convolution of stride 2. It ignores the code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Maps (n, width, h / 2, w / 2)."""
        del code
        return self.layer(x)


class Doubled(nn.Module):
    """Nearest neighbours and a convolution. It ignores the code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Maps (n, width, 2 h, 2 w)."""
        del code
        return self.layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def norm(width: int) -> nn.GroupNorm:
    """Group norm with 32 groups, or as many as divide narrower maps."""
    return nn.GroupNorm(math.gcd(32, width), width)


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights and biases 0, so that a block begins as the identity."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def sinusoids(times: Tensor, length: int) -> Tensor:
    """(n, length): cosines and sines of time steps (n,), with wavelengths from 2 pi to 20,000 pi (Ho et al. 2020)."""
    half = length // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=times.device) / half)
    angles = times[:, None].float() * rates
    code = torch.cat([angles.cos(), angles.sin()], 1)
    return F.pad(code, (0, length % 2))
