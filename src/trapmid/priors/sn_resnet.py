"""PLG-MI's published pair: a residual generator with conditional batch norm, a projection discriminator.

The shapes are those of SN-GAN projection (Miyato & Koyama 2018) at 64 px.
"""

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from trapmid.config import Config, Width
from trapmid.priors.layers import ConditionalBatchNorm
from trapmid.types import Images, Labels, Prediction, UserError

Start = Literal["published", "xavier"]


def _convolution(before: int, after: int, kernel: int, start: Start) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    if start == "xavier":
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _normalised(layer: nn.Module, start: Start, gain: float = 1.0) -> nn.Module:
    """The layer with spectral norm.

    The published initialisation sets Xavier weights after the vectors of the norm were drawn.
    """
    if start == "xavier":
        return spectral_norm(layer)
    normalised: Any = spectral_norm(layer)
    (norm,) = normalised.parametrizations.weight
    for vector in (norm._u, norm._v):
        vector.copy_(F.normalize(torch.randn_like(vector), dim=0))
    nn.init.xavier_uniform_(normalised.parametrizations.weight.original, gain)
    return normalised


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class UpBlock(nn.Module):
    """cBN, ReLU, bilinear x2, conv3, cBN, ReLU, conv3; shortcut bilinear x2, conv1."""

    def __init__(self, before: int, after: int, num_classes: int, start: Start) -> None:
        super().__init__()
        self.norm1, self.conv1 = ConditionalBatchNorm(before, num_classes), _convolution(before, after, 3, start)
        self.norm2, self.conv2 = ConditionalBatchNorm(after, num_classes), _convolution(after, after, 3, start)
        self.shortcut = _convolution(before, after, 1, start)

    def forward(self, x: Tensor, labels: Labels) -> Tensor:
        """Map (n, before, h, w) to (n, after, 2 h, 2 w)."""
        y = self.conv1(_up(F.relu(self.norm1(x, labels))))
        y = self.conv2(F.relu(self.norm2(y, labels)))
        return y + self.shortcut(_up(x))


class SNResNetGenerator(nn.Module):
    """Linear to 4 x 4, four up blocks, BN, ReLU, conv1, tanh.

    It is trained on images in [0, 1], so the output of tanh stays approximately in this range, as published.
    """

    def __init__(
        self, num_classes: int, channels: int, latent_size: int, width: int, start: Start = "published"
    ) -> None:
        super().__init__()
        widths = [width * 16, width * 8, width * 4, width * 2, width]
        self.project = nn.Linear(latent_size, widths[0] * 16)
        if start == "xavier":
            nn.init.xavier_uniform_(self.project.weight)
        self.blocks = nn.ModuleList(UpBlock(a, b, num_classes, start) for a, b in pairwise(widths))
        self.norm, self.to_image = nn.BatchNorm2d(width), _convolution(width, channels, 1, start)

    def forward(self, latents: Tensor, labels: Labels) -> Images:
        """Images (n, channels, 64, 64)."""
        x = self.project(latents).view(len(latents), -1, 4, 4)
        for block in self.blocks:
            x = block(x, labels)
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


class DownBlock(nn.Module):
    """(ReLU,) conv3, ReLU, conv3, average pool.

    The shortcut is conv1, average pool. The first block, whose input is the image, pools before the convolution.
    """

    def __init__(self, before: int, after: int, *, first: bool, start: Start) -> None:
        super().__init__()
        hidden = after if first else before
        self.first = first
        self.conv1 = _normalised(_convolution(before, hidden, 3, start), start, 2**0.5)
        self.conv2 = _normalised(_convolution(hidden, after, 3, start), start, 2**0.5)
        self.shortcut = _normalised(_convolution(before, after, 1, start), start)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, before, h, w) to (n, after, h / 2, w / 2)."""
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        shortcut = self.shortcut(F.avg_pool2d(x, 2)) if self.first else F.avg_pool2d(self.shortcut(x), 2)
        return F.avg_pool2d(y, 2) + shortcut


def down_blocks(channels: int, width: int, start: Start) -> nn.Sequential:
    """Five blocks from images at 64 px to maps (n, 16 * width, 2, 2)."""
    widths = [channels, width, width * 2, width * 4, width * 8, width * 16]
    pairs = enumerate(pairwise(widths))
    return nn.Sequential(*(DownBlock(a, b, first=number == 0, start=start) for number, (a, b) in pairs))


class SNResNetDiscriminator(nn.Module):
    """Five down blocks, ReLU, sum over positions, linear plus projection onto the label."""

    def __init__(self, num_classes: int, channels: int, width: int, start: Start = "published") -> None:
        super().__init__()
        self.blocks = down_blocks(channels, width, start)
        linear, embedding = nn.Linear(16 * width, 1), nn.Embedding(num_classes, 16 * width)
        if start == "xavier":
            nn.init.xavier_uniform_(linear.weight)
            nn.init.xavier_uniform_(embedding.weight)
        self.linear, self.embedding = _normalised(linear, start), _normalised(embedding, start)

    def forward(self, images: Images, labels: Labels) -> Tensor:
        """Scores (n,), which are higher for more realistic images."""
        features = F.relu(self.blocks(images)).sum((2, 3))
        return self.linear(features).squeeze(1) + (self.embedding(labels) * features).sum(1)


class SNResNetClassifier(nn.Module):
    """LOKT's discriminator: five down blocks, ReLU, sum over positions, two plain linear layers.

    The first linear layer has a logit for every class, the second one a logit for being real.
    """

    def __init__(self, num_classes: int, channels: int, width: int, start: Start = "published") -> None:
        super().__init__()
        self.blocks = down_blocks(channels, width, start)
        self.classes, self.real = nn.Linear(16 * width, num_classes), nn.Linear(16 * width, 1)

    def forward(self, images: Images) -> Prediction:
        """Logits (n, num_classes + 1) of the classes and of being real. Features are the sums over positions."""
        features = F.relu(self.blocks(images)).sum((2, 3))
        return Prediction(torch.cat([self.classes(features), self.real(features)], 1), features)


class SNResNet(Config):
    """Shapes of the published pair; `width` 64 and 64 px are the paper's.

    Attributes:
        width: number of channels at full resolution.
        latent_size: length of a latent.
        start: initialisation of weights. In the authors' code, the generator has the defaults of torch, because its
            initialisers are never called. The discriminator has Xavier weights, with a gain of the root of 2 in the two
            convolutions of a block, and the default biases of torch. With `xavier`, both networks have Xavier weights
            and no biases at the start.
    """

    kind: Literal["sn-resnet"] = "sn-resnet"
    width: Width = 64
    latent_size: Width = 128
    start: Start = "published"

    def check_size(self, image_size: int) -> None:
        """Check that images have 64 pixels, the only size for which shapes are published."""
        if image_size != 64:
            raise UserError(f"The sn-resnet pair is for 64 px; image_size is {image_size}. Use networks.kind=strided.")

    def build(self, num_classes: int, image_size: int, channels: int) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator with random weights.

        Raises:
            UserError: the image is not 64 px.
        """
        self.check_size(image_size)
        return (
            SNResNetGenerator(num_classes, channels, self.latent_size, self.width, self.start),
            SNResNetDiscriminator(num_classes, channels, self.width, self.start),
        )

    def classifier(self, num_classes: int, channels: int) -> nn.Module:
        """A discriminator of the same blocks that classifies (`SNResNetClassifier`), with random weights."""
        return SNResNetClassifier(num_classes, channels, self.width, self.start)
