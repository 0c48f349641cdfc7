"""Any timm backbone by name, with a linear head: `zoo:resnet152`, `zoo:resnest101e`, `zoo:densenet169`, ..."""

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from trapmid.config import Side
from trapmid.models.classifier import Classifier, ModelConfig, resized
from trapmid.modes import evaluating
from trapmid.types import Images, Prediction, UserError


class ZooNet(Classifier):
    """A timm backbone; one grey channel goes in as three.

    Attributes:
        symmetric: whether images go in as [-1, 1] rather than as [0, 1].
        flat: whether features are the backbone's last map, flattened, rather than its pooled output.
        stages: which of the backbone's intermediate maps are its last four stages: in a ResNet the outputs of layer1 to
            layer4, in a DenseNet those of the four dense blocks. Empty for a backbone without stages, such as a plain
            ViT.
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
        """Features are the backbone's pooled output; hidden are the maps of its stages, from the same pass."""
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
        """Of timm's layers. Where a network has several classifiers, none of them is the head here."""
        found = self.backbone.pretrained_cfg.get("classifier") or ()
        classifiers = (found,) if isinstance(found, str) else tuple(found)
        if not name.startswith(tuple(f"{classifier}." for classifier in classifiers)):
            return f"backbone.{name}"
        return f"head.{name.removeprefix(f'{found}.')}"


def _map_size(backbone: nn.Module, image_size: int) -> int:
    """The length of the backbone's last map, flattened."""
    with evaluating(backbone), torch.no_grad():
        image = torch.zeros(1, 3, image_size, image_size, device=next(backbone.parameters()).device)
        return backbone.forward_features(image).numel()  # type: ignore[operator]


class Zoo(ModelConfig):
    """`zoo:NAME`: a backbone of timm.

    Attributes:
        name: as `timm.list_models()` prints it.
        pretrained: start from timm's weights; they are downloaded, so the default is off.
        pixels: the range in which the backbone gets images: `symmetric`, [-1, 1], as PPA's targets do, or `unit`, [0,
            1], as LOMMA's students do.
        input_size: pixels that images are resized to, bilinearly; None takes them as they are. PPA's judge is an
            `inception_v3` for 299 px, which is shown images of 224 px.
        pooling: of the backbone's last map: its own, such as the `average`, or `none`, which flattens the map as LOKT's
            surrogates do.
    """

    paper = "timm (Wightman 2019); for resnest101e, resnet152, densenet169: Trap-MID, App. E.10"
    kind: Literal["zoo"] = "zoo"
    name: str = "resnet18"
    pretrained: bool = False
    pixels: Literal["symmetric", "unit"] = "symmetric"
    input_size: Side | None = None
    pooling: Literal["average", "none"] = "average"

    def check_size(self, image_size: int) -> None:
        """Tried on a network without numbers, since every backbone has its own limit."""
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
            UserError: timm knows no such model, with the nearest names.
        """
        import timm

        if not timm.is_model(self.name):
            near = timm.list_models(f"*{self.name.split('_')[0]}*")[:5]
            raise UserError(
                f"zoo:{self.name} is not a timm model. "
                + (f"Did you mean {', '.join(near)}?" if near else "See timm.list_models().")
            )
        image_size = self.input_size or image_size
        options: dict[str, Any] = {"pretrained": self.pretrained, "num_classes": 0}
        try:
            backbone = timm.create_model(self.name, img_size=image_size, **options)
        except TypeError:  # only transformers take an image size
            backbone = timm.create_model(self.name, **options)
        symmetric, flat = self.pixels == "symmetric", self.pooling == "none"
        return ZooNet(num_classes, image_size, channels, backbone, symmetric=symmetric, flat=flat)
