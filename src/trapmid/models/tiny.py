"""Two small networks that train on a CPU in minutes: `tiny`, and `small-resnet`, a different one for judges."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import BelowOne, Width
from trapmid.models.classifier import Classifier, ModelConfig
from trapmid.models.residual import ResidualBlock
from trapmid.types import Images, Prediction


class TinyNet(Classifier):
    """Strided 3x3 convolutions with batch norm and one linear layer; 0.36 M parameters for 57 classes at 64 px.

    The last map is flattened, not averaged: faces are aligned, so the position of a feature helps to recognise people.
    """

    def __init__(
        self, num_classes: int, image_size: int, channels: int, widths: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__(num_classes, image_size, channels)
        layers: list[nn.Module] = []
        for before, width, stride in zip((channels, *widths), widths, strides, strict=False):
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        side = image_size
        for stride in strides:
            side = -(-side // stride)
        self.head = nn.Linear(widths[-1] * side**2, num_classes)

    def forward(self, images: Images) -> Prediction:
        """Features are the flattened last map. Hidden maps are all maps."""
        x, hidden = images * 2 - 1, []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                hidden.append(x)
        features = x.flatten(1)
        return Prediction(self.head(features), features, tuple(hidden))


class Tiny(ModelConfig):
    """`tiny`: trains on one core in minutes, to 73 % over 57 real identities (docs/experiments/from-scratch.md)."""

    paper = "none: strided CNN for CPU runs"
    kind: Literal["tiny"] = "tiny"
    widths: tuple[Width, ...] = Field((32, 64, 128, 128), min_length=1, max_length=32)
    strides: tuple[Annotated[int, Field(ge=1, le=16)], ...] = (2, 2, 2, 2)

    @model_validator(mode="after")
    def _a_stride_a_layer(self) -> "Tiny":
        if len(self.widths) != len(self.strides):
            raise ValueError(
                f"{len(self.widths)} widths and {len(self.strides)} strides; expected one of each per layer"
            )
        return self

    def network(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """See `TinyNet`."""
        return TinyNet(num_classes, image_size, channels, self.widths, self.strides)


class PreActivationBlock(ResidualBlock):
    """Two 3x3 convolutions, each after group norm and SiLU, added to a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, before), nn.Conv2d(before, width, 3, stride, 1)
        self.norm2, self.conv2 = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, 1, 1)
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, width, h / stride, w / stride)."""
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class SmallResNetwork(Classifier):
    """A residual network with group norm.

    It has no batch statistics, and its activations and depth differ from those of `TinyNet`.
    """

    def __init__(self, num_classes: int, image_size: int, channels: int, width: int, dropout: float) -> None:
        super().__init__(num_classes, image_size, channels)
        widths = (width, 2 * width, 4 * width, 4 * width)
        self.stem = nn.Conv2d(channels, width, 5, 2, 2)
        pairs = zip((width, *widths), widths, strict=False)
        self.blocks = nn.Sequential(*(PreActivationBlock(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairs)))
        self.norm = nn.GroupNorm(8, widths[-1])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Images) -> Prediction:
        """Features are the last map, averaged over positions. Hidden maps are the outputs of the blocks."""
        x, hidden = self.stem(images * 2 - 1), []
        for block in self.blocks:
            x = block(x)
            hidden.append(x)
        features = F.silu(self.norm(x)).mean((2, 3))
        return Prediction(self.head(self.dropout(features)), features, tuple(hidden))


class SmallResNet(ModelConfig):
    """`small-resnet`: the CPU recipes' evaluation classifier."""

    paper = "none: pre-activation ResNet (He et al. 2016) with group norm, for CPU judges"
    kind: Literal["small-resnet"] = "small-resnet"
    width: Annotated[Width, Field(multiple_of=8)] = 32
    dropout: BelowOne = 0.3

    def network(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """See `SmallResNetwork`."""
        return SmallResNetwork(num_classes, image_size, channels, self.width, self.dropout)
