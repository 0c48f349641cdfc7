"""A conditional GAN for CPUs: DCGAN shapes, class-conditional batch norm and a projection discriminator."""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from trapmid.config import Config, Width
from trapmid.priors.layers import ConditionalBatchNorm
from trapmid.types import Images, Labels


def halvings(size: int) -> tuple[int, int]:
    """The smallest side of at least 4 after repeated halving of `size`, and the number of halvings: 64 gives (4, 4)."""
    count = 0
    while size % 2 == 0 and size > 7:
        size, count = size // 2, count + 1
    return size, count


class StridedGenerator(nn.Module):
    """A linear layer, then transposed 4x4 convolutions of stride 2, each after conditional batch norm and ReLU."""

    def __init__(
        self, num_classes: int, image_size: int, channels: int, latent_size: int, width: int, widest: int
    ) -> None:
        super().__init__()
        self.side, ups = halvings(image_size)
        widths = [min(widest, width * 2 ** (ups - 1 - i)) for i in range(ups)]
        self.widest = widths[0]
        self.project = nn.Linear(latent_size, self.widest * self.side**2)
        self.norms = nn.ModuleList(ConditionalBatchNorm(w, num_classes) for w in widths)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(widths, [*widths[1:], channels], strict=True)
        )
        nn.init.normal_(self.project.weight, 0, 0.05)
        for up in self.ups:
            nn.init.normal_(up.weight, 0, 0.02)  # type: ignore[arg-type]
        for layer in (self.project, *self.ups):
            nn.init.zeros_(layer.bias)

    def forward(self, latents: Tensor, labels: Labels) -> Images:
        """Images (n, channels, image_size, image_size) in (0, 1)."""
        x = self.project(latents).view(-1, self.widest, self.side, self.side)
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(F.relu(norm(x, labels)))
        return torch.sigmoid(2 * x)


class StridedDiscriminator(nn.Module):
    """4x4 convolutions of stride 2 with spectral norm, a sum over positions and a projection (Miyato & Koyama 2018)."""

    def __init__(self, num_classes: int, image_size: int, channels: int, width: int, widest: int) -> None:
        super().__init__()
        side, downs = halvings(image_size)
        widths = [channels, *(min(widest, width * 2**i) for i in range(downs))]
        self.downs = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(widths))
        self.scale = 1 / side
        self.linear = spectral_norm(nn.Linear(widths[-1], 1))
        embedding = nn.Embedding(num_classes, widths[-1])
        nn.init.normal_(embedding.weight, 0, 0.1)
        self.embedding = spectral_norm(embedding)

    def forward(self, images: Images, labels: Labels) -> Tensor:
        """Scores (n,), which are higher for more realistic images."""
        x = images * 2 - 1
        for down in self.downs:
            x = F.leaky_relu(down(x), 0.1)
        features = x.sum((2, 3)) * self.scale
        return self.linear(features).squeeze(1) + (self.embedding(labels) * features).sum(1)


class Strided(Config):
    """Shapes of the CPU pair.

    Attributes:
        width: number of channels at full resolution. It doubles with every halving of the side.
        widest: the largest number of channels.
        latent_size: length of a latent.
    """

    kind: Literal["strided"] = "strided"
    width: Width = 16
    widest: Width = 256
    latent_size: Width = 128

    def build(self, num_classes: int, image_size: int, channels: int) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator with random weights."""
        assert math.log2(image_size) >= 3
        return (
            StridedGenerator(num_classes, image_size, channels, self.latent_size, self.width, self.widest),
            StridedDiscriminator(num_classes, image_size, channels, self.width, self.widest),
        )
