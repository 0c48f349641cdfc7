"""Any timm backbone by name, with a linear head: `zoo:resnet18`, `zoo:convnext_atto`, ..."""

from typing import Any, Literal

from torch import nn

from trapmid.models.classifier import Classifier, ModelConfig
from trapmid.types import Images, Prediction, UserError


class ZooNet(Classifier):
    """A timm backbone; images go in as [-1, 1], one grey channel as three."""

    def __init__(self, num_classes: int, image_size: int, channels: int, backbone: nn.Module) -> None:
        super().__init__(num_classes, image_size, channels)
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.num_features), num_classes)  # type: ignore[arg-type]

    def forward(self, images: Images) -> Prediction:
        """Features are the backbone's pooled output."""
        features = self.backbone(images.expand(-1, 3, -1, -1) * 2 - 1)
        return Prediction(self.head(features), features)


class Zoo(ModelConfig):
    """`zoo:NAME`: a backbone of timm.

    Attributes:
        name: as `timm.list_models()` prints it.
        pretrained: start from timm's weights; they are downloaded, so the default is off.
    """

    paper = "timm (Wightman 2019)"
    kind: Literal["zoo"] = "zoo"
    name: str = "resnet18"
    pretrained: bool = False

    def build(self, num_classes: int, image_size: int, channels: int) -> Classifier:
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
        options: dict[str, Any] = {"pretrained": self.pretrained, "num_classes": 0}
        try:
            backbone = timm.create_model(self.name, img_size=image_size, **options)
        except TypeError:  # only transformers take an image size
            backbone = timm.create_model(self.name, **options)
        if backbone.num_features != getattr(backbone, "head_hidden_size", backbone.num_features):
            raise UserError(
                f"zoo:{self.name} keeps hidden layers in its head ({backbone.head_hidden_size} wide), which num_classes=0 does not remove. Choose another backbone."
            )
        return ZooNet(num_classes, image_size, channels, backbone)
