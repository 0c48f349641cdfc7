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
    """The mapping from latents to styles.

    Latents are normalised to unit mean square, then passed to fully connected layers with a hundredth of the learning
    rate.

    Attributes:
        w_avg: (style_size,), the mean style, which is the centre of truncation.
    """

    w_avg: Tensor

    def __init__(self, latent_size: int, style_size: int, layers: int) -> None:
        super().__init__()
        self.names = [f"fc{i}" for i in range(layers)]
        for i, name in enumerate(self.names):
            self.add_module(name, Dense(latent_size if i == 0 else style_size, style_size, slowness=0.01))
        self.register_buffer("w_avg", torch.zeros(style_size))

    def forward(self, latents: Tensor) -> Tensor:
        """Map (n, latent_size) to (n, style_size)."""
        x = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for name in self.names:
            x = activate(self.get_submodule(name)(x))
        return x


class Features(NamedTuple):
    """An intermediate state of synthesis.

    Attributes:
        blocks: number of blocks that are finished.
        maps: (n, width, side, side), the input of the next block.
        picture: (n, channels, side, side), the sum of the pictures of the finished blocks.
    """

    blocks: int
    maps: Tensor
    picture: Tensor


class Block(nn.Module):
    """Two styled convolutions and a contribution to the picture.

    The first block has one convolution, whose input is a learned constant.
    """

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
    """The synthesis of pictures from styles, starting at 4 x 4. Every block adds its contribution to the picture.

    Attributes:
        layers: number of styles per image: one per convolution and one for the last contribution to the picture.
        sides: sides of the maps in pixels, one per block.
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
        """Run the blocks from `start` until `stop` blocks are finished. By default, all blocks are run.

        Args:
            styles: (n, layers, style_size), or (n, style_size) to use the same style in all layers.
            start: the result of an earlier call; None for the beginning.
            stop: number of blocks that are finished at the end; None for all.

        Returns:
            The features. After all blocks, the picture is approximately in [-1, 1].
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

    The shortcut is conv1 at half the side. Both branches have half the variance.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv0 = Convolution(before, before, 3)
        self.conv1 = Convolution(before, after, 3, down=True)
        self.skip = Convolution(before, after, 1, down=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, before, h, w) to (n, after, h / 2, w / 2)."""
        return (activate(self.conv1(activate(self.conv0(x)))) + self.skip(x)) / GAIN


def batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """The mean standard deviation of maps within a group of images, as a map (n, 1, h, w) (Karras et al. 2018).

    The mean is over channels and positions. Images i, i + n / group, i + 2 n / group ... form a group. If n is not a
    multiple of `group`, all images form one group.
    """
    n, _, height, width = x.shape
    size = group if n % group == 0 else n
    deviation = (x.reshape(size, n // size, -1).var(0, unbiased=False) + 1e-8).sqrt().mean(1)
    return deviation.repeat(size)[:, None, None, None].expand(-1, -1, height, width)


class StyleDiscriminator(nn.Module):
    """Residual blocks down to 4 x 4, the deviation within the batch as an additional map, and two linear layers."""

    def __init__(self, resolution: int, channels: int, capacity: int, widest: int) -> None:
        super().__init__()
        sides = [2**i for i in range(resolution.bit_length() - 1, 1, -1)]
        widths = [min(capacity // side, widest) for side in sides]
        self.from_picture = Convolution(channels, widths[0], 1)
        self.blocks = nn.Sequential(*(DownBlock(before, after) for before, after in pairwise(widths)))
        self.convolution = Convolution(widths[-1] + 1, widths[-1], 3)
        self.hidden, self.out = Dense(widths[-1] * 16, widths[-1]), Dense(widths[-1], 1)

    def forward(self, images: Images) -> Tensor:
        """Scores (n,) of images in [0, 1], which are higher for more realistic images."""
        x = self.blocks(activate(self.from_picture(images * 2 - 1)))
        x = activate(self.convolution(torch.cat([x, batch_deviation(x)], 1)))
        return self.out(activate(self.hidden(x.flatten(1)))).squeeze(1)
