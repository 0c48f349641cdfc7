"""Improved residual networks for faces (Trap-MID, App. C.3): `facenet64`, which is Face.evoLVe's IR-50, and `ir152`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from trapmid.config import Side
from trapmid.models.classifier import Classifier, ModelConfig, resized
from trapmid.models.residual import ResidualBlock
from trapmid.types import Images, Prediction

WIDTHS = (64, 128, 256, 512)


class IRUnit(ResidualBlock):
    """Batch norm, convolution, PReLU, strided convolution and batch norm, added to a shortcut.

    The shortcut is subsampled if the widths are equal, and a strided 1 x 1 convolution otherwise.
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        if before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        else:
            self.shortcut = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, width, 3, 1, 1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, width, h / stride, w / stride)."""
        return self.res_layer(x) + self.shortcut(x)


class IRNet(Classifier):
    """Four stages of units, each of which halves the side, then an embedding of width 512 and a linear layer.

    At 64 px the last map is 512 x 4 x 4. Inputs are not normalised, as published.
    """

    # A backbone trained at another image size has another output layer; the embedding then starts at random.
    heads = ("head.", "output_layer.")

    def __init__(self, num_classes: int, image_size: int, channels: int, units: Sequence[int]) -> None:
        super().__init__(num_classes, image_size, channels)
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        blocks = [
            IRUnit(width if i else before, width, 1 if i else 2)
            for before, width, count in zip((64, *WIDTHS), WIDTHS, units, strict=False)
            for i in range(count)
        ]
        self.body = nn.ModuleList(blocks)
        self.ends = {sum(units[: stage + 1]) - 1 for stage in range(len(units))}
        side = -(-image_size // 16)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.5), nn.Flatten(), nn.Linear(512 * side**2, 512), nn.BatchNorm1d(512)
        )
        self.head = nn.Linear(512, num_classes)

    def forward(self, images: Images) -> Prediction:
        """Features are the output of the last batch norm. Hidden maps are those of the four stages, as in BiDO."""
        x = self.input_layer(resized(images, self.image_size).expand(-1, 3, -1, -1))
        hidden = []
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in self.ends:
                hidden.append(x)
        features = self.output_layer(x)
        return Prediction(self.head(features), features, tuple(hidden))

    def own_name(self, name: str) -> str:
        """See `Classifier.own_name`. Knows the layer names of Face.evoLVe and of the published checkpoints."""
        name = name.removeprefix("feature.").replace(".shortcut_layer.", ".shortcut.")
        return f"head.{name.removeprefix('fc_layer.')}" if name.startswith("fc_layer.") else name


class IRConfig(ModelConfig, ABC):
    """The options of both networks.

    Attributes:
        convolutions: initialisation of the convolutions if no weights file is given: `xavier` (uniform), as in the
            authors' backbone, or `torch`, the default of torch. Other layers have the default initialisation of torch.
        input_size: size in pixels to which images are resized, with bilinear interpolation; None for no resizing. The
            authors' evaluation classifier is an IR-50 for 112 px that is applied to images of 64 px.
    """

    convolutions: Literal["xavier", "torch"] = "xavier"
    input_size: Side | None = None

    def network(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """See `IRNet`."""
        network = IRNet(num_classes, self.input_size or image_size, channels, self.units())
        if self.convolutions == "xavier":
            for layer in (*network.input_layer.modules(), *network.body.modules()):
                if isinstance(layer, nn.Conv2d):
                    nn.init.xavier_uniform_(layer.weight)
        return network

    @abstractmethod
    def units(self) -> Sequence[int]:
        """The number of units in each of the four stages."""


class FaceNet64(IRConfig):
    """`facenet64`: the paper's "Face.evoLVe", an IR-50, started from a backbone trained on MS-Celeb-1M."""

    paper = "Trap-MID, App. C.3; Face.evoLVe (Wang et al. 2021), IR-50 after Deng et al., CVPR 2019"
    kind: Literal["facenet64"] = "facenet64"

    def units(self) -> Sequence[int]:
        """24 units."""
        return (3, 4, 14, 3)


class IR152(IRConfig):
    """`ir152`: the paper's "ResNet-152", started from a backbone trained on MS-Celeb-1M."""

    paper = "Trap-MID, App. C.3 (there: ResNet-152); IR-152 after Deng et al., CVPR 2019"
    kind: Literal["ir152"] = "ir152"

    def units(self) -> Sequence[int]:
        """50 units."""
        return (3, 8, 36, 3)
