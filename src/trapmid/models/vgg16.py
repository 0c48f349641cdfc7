"""VGG-16 (Trap-MID, App. C.3): torchvision's features with batch norm, a batch norm without bias, one linear layer."""

from typing import Literal

import torch
from torch import nn

from trapmid.errors import needs
from trapmid.models.classifier import Classifier, ModelConfig
from trapmid.types import Images, Prediction, UserError

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and number of convolutions of each block."""


class VGG16Net(Classifier):
    """VGG-16 with batch norm. At 64 px it has 512 x 2 x 2 = 2048 features. Inputs are not normalised, as published."""

    heads = ("head.", "norm.")

    def __init__(self, num_classes: int, image_size: int, channels: int, features: nn.Sequential) -> None:
        super().__init__(num_classes, image_size, channels)
        flat = 512 * (image_size // 32) ** 2
        pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
        starts = [0, *(i + 1 for i in pools[:-1])]
        self.blocks = nn.ModuleList(features[a : b + 1] for a, b in zip(starts, pools, strict=True))
        self.norm = nn.BatchNorm1d(flat)
        self.norm.bias.requires_grad_(False)
        self.head = nn.Linear(flat, num_classes)

    def forward(self, images: Images) -> Prediction:
        """Features are the output of the batch norm. Hidden maps are four pooled maps and the features, as in BiDO."""
        x = images.expand(-1, 3, -1, -1)
        hidden = []
        for block in self.blocks:
            x = block(x)
            hidden.append(x)
        features = self.norm(torch.flatten(x, 1))
        return Prediction(self.head(features), features, (*hidden[:4], features))

    def own_name(self, name: str) -> str:
        """See `Classifier.own_name`. Knows the layer names of torchvision and of the published checkpoints."""
        part, _, rest = name.partition(".")
        if part in ("features", "feature"):  # a slice of torchvision's layers keeps their indices
            index, _, _ = rest.partition(".")
            blocks = (n for n, block in enumerate(self.blocks) if index in dict(block.named_children()))
            return f"blocks.{next(blocks, '')}.{rest}"
        own = {"classifier": "head", "fc_layer": "head", "bn": "norm"}.get(part, part)
        return f"{own}.{rest}"


class VGG16(ModelConfig):
    """`vgg16`: the target of the paper's main tables.

    Attributes:
        pretrained: whether to start from torchvision's ImageNet weights, as published. They are downloaded, so the
            default is off. Needs the extra `trapmid[zoo]`.
    """

    paper = "Trap-MID, App. C.3; Simonyan & Zisserman, ICLR 2015"
    kind: Literal["vgg16"] = "vgg16"
    pretrained: bool = False

    def check_size(self, image_size: int) -> None:
        """Check that the image has at least 32 pixels, because five poolings halve it."""
        if image_size < 32:
            raise UserError(
                f"vgg16 halves its input five times and needs at least 32 px; image_size is {image_size}. "
                "Use another model, such as tiny."
            )

    def network(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """See `VGG16Net`.

        Raises:
            UserError: the image is smaller than 32 px, or the pretrained weights are not available.
        """
        self.check_size(image_size)
        if not self.pretrained:
            return VGG16Net(num_classes, image_size, channels, _random_features())
        with needs("zoo", "model.pretrained of vgg16"):
            from torchvision import models
        try:
            features = models.vgg16_bn(weights=models.VGG16_BN_Weights.IMAGENET1K_V1).features
        except OSError as problem:
            raise UserError(
                f"The ImageNet weights of vgg16 could not be downloaded ({problem}). Name a local file as weights, set "
                "pretrained=false, or run where there is a network."
            ) from problem
        return VGG16Net(num_classes, image_size, channels, features)


def _random_features() -> nn.Sequential:
    """The layers and the initialisation of torchvision's `vgg16_bn`, without the 120 M weights of the unused head."""
    layers: list[nn.Module] = []
    before = 3
    for width, depth in BLOCKS:
        for _ in range(depth):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            before = width
        layers.append(nn.MaxPool2d(2))
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)
