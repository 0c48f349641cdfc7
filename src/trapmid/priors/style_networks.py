"""The networks of StyleGAN2 (Karras et al., CVPR 2020): mapping, synthesis with skips, residual discriminator.

Names and shapes of the generator's weights are those of the official PyTorch networks (StyleGAN2-ADA, Karras et al.
2020b).
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trapmid.priors.resampling import low_pass, upsample
from trapmid.priors.style_layers import GAIN, Convolution, Dense, StyledConvolution, ToPicture, activate
from trapmid.types import Images


class Mapping(nn.Module):
    """Latents to styles: normalised to unit mean square, then fully connected layers that learn a hundred times slower.

    Attributes:
        w_avg: (style_size,), the mean style, towards which truncation pulls.
    """

    w_avg: Tensor

    def __init__(self, latent_size: int, style_size: int, layers: int) -> None:
        super().__init__()
        self.names = [f"fc{i}" for i in range(layers)]
        for i, name in enumerate(self.names):
            self.add_module(name, Dense(latent_size if i == 0 else style_size, style_size, slowness=0.01))
        self.register_buffer("w_avg", torch.zeros(style_size))

    def forward(self, latents: Tensor) -> Tensor:
        """(n, latent_size) to (n, style_size)."""
        x = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for name in self.names:
            x = activate(self.get_submodule(name)(x))
        return x


class Features(NamedTuple):
    """Where synthesis has got to.

    Attributes:
        blocks: how many blocks are behind it.
        maps: (n, width, side, side), what the next block takes.
        picture: (n, channels, side, side), the sum of what the blocks so far have painted.
    """

    blocks: int
    maps: Tensor
    picture: Tensor


class Block(nn.Module):
    """Two styled convolutions - in the first block one, on a learnt constant - and their part of the picture."""

    resample_filter: Tensor

    def __init__(self, before: int, after: int, style_size: int, side: int, channels: int) -> None:
        super().__init__()
        self.first = before == 0
        if self.first:
            self.const = nn.Parameter(torch.randn(after, side, side))
        else:
            self.conv0 = StyledConvolution(before, after, style_size, side, up=True)
        self.conv1 = StyledConvolution(after, after, style_size, side, up=False)
        self.torgb = ToPicture(after, channels, style_size)
        self.register_buffer("resample_filter", low_pass())

    def forward(self, maps: Tensor, picture: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and picture at twice the side; `styles` (n, 2 or 3, style_size) are those of its layers in order."""
        x = self.const.expand(len(styles), -1, -1, -1) if self.first else self.conv0(maps, styles[:, 0])
        x = self.conv1(x, styles[:, -2])
        return x, upsample(picture, self.resample_filter) + self.torgb(x, styles[:, -1])


class Synthesis(nn.Module):
    """Styles to pictures, from 4 x 4 up; every block adds its part to the picture so far.

    Attributes:
        layers: styles that an image takes: one per convolution and one for the last part of the picture.
        sides: of the maps, block by block.
    """

    def __init__(self, resolution: int, channels: int, style_size: int, capacity: int, widest: int) -> None:
        super().__init__()
        self.channels = channels
        self.sides = [2**i for i in range(2, resolution.bit_length())]
        widths = [0, *(min(capacity // side, widest) for side in self.sides)]
        for side, (before, after) in zip(self.sides, pairwise(widths), strict=True):
            self.add_module(f"b{side}", Block(before, after, style_size, side, channels))
        self.layers = 2 * len(self.sides)

    def forward(self, styles: Tensor, start: Features | None = None, stop: int | None = None) -> Features:
        """Run the blocks from `start` until `stop` blocks are behind; by default all of them.

        Args:
            styles: (n, layers, style_size), or (n, style_size) for all layers alike.
            start: what an earlier call returned.
            stop: how many blocks.

        Returns:
            After all blocks, the picture in about [-1, 1].
        """
        if styles.ndim == 2:
            styles = styles[:, None].expand(-1, self.layers, -1)
        if start is None:
            nothing = torch.zeros(len(styles), self.channels, 2, 2, device=styles.device)
            start = Features(0, nothing, nothing)
        done, maps, picture = start
        for number in range(done, len(self.sides) if stop is None else stop):
            block = self.get_submodule(f"b{self.sides[number]}")
            maps, picture = block(maps, picture, styles[:, max(0, 2 * number - 1) : 2 * number + 2])
            done = number + 1
        return Features(done, maps, picture)


class DownBlock(nn.Module):
    """conv3, activation, conv3 at half the side, activation.

    Shortcut conv1 at half the side; both of half the variance.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv0 = Convolution(before, before, 3)
        self.conv1 = Convolution(before, after, 3, down=True)
        self.skip = Convolution(before, after, 1, down=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h / 2, w / 2)."""
        return (activate(self.conv1(activate(self.conv0(x)))) + self.skip(x)) / GAIN


def batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """(n, 1, h, w): mean deviation of maps within a group of images, over channels and positions (Karras et al. 2018).

    Images i, i + n / group, i + 2 n / group ... are a group; where n is no multiple of `group`, all of them are.
    """
    n, _, height, width = x.shape
    size = group if n % group == 0 else n
    deviation = (x.reshape(size, n // size, -1).var(0, unbiased=False) + 1e-8).sqrt().mean(1)
    return deviation.repeat(size)[:, None, None, None].expand(-1, -1, height, width)


class StyleDiscriminator(nn.Module):
    """Residual blocks down to 4 x 4, the deviation within the batch as one more map, and two linear layers."""

    def __init__(self, resolution: int, channels: int, capacity: int, widest: int) -> None:
        super().__init__()
        sides = [2**i for i in range(resolution.bit_length() - 1, 1, -1)]
        widths = [min(capacity // side, widest) for side in sides]
        self.from_picture = Convolution(channels, widths[0], 1)
        self.blocks = nn.Sequential(*(DownBlock(before, after) for before, after in pairwise(widths)))
        self.convolution = Convolution(widths[-1] + 1, widths[-1], 3)
        self.hidden, self.out = Dense(widths[-1] * 16, widths[-1]), Dense(widths[-1], 1)

    def forward(self, images: Images) -> Tensor:
        """(n,): higher is more real; images in [0, 1]."""
        x = self.blocks(activate(self.from_picture(images * 2 - 1)))
        x = activate(self.convolution(torch.cat([x, batch_deviation(x)], 1)))
        return self.out(activate(self.hidden(x.flatten(1)))).squeeze(1)
