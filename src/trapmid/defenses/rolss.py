"""RoLSS (Koh et al., ECCV 2024): weak or no skip connections in the last stages, since they help an inversion."""

import re
from typing import Literal, final

from pydantic import Field
from torch import nn

from trapmid.config import Count, Deviation, Share
from trapmid.defenses.changes import Changes
from trapmid.defenses.defense import Defense
from trapmid.models import Classifier
from trapmid.models.residual import dense_stages, residual_stages, scale_dense, scale_skip
from trapmid.models.zoo import ZooNet
from trapmid.types import UserError

Factors = tuple[Share, Share, Share, Share]

LAST_STAGE: Factors = (1.0, 1.0, 1.0, 0.0)
PUBLISHED: dict[str, Factors] = {
    r"resnet18": (1.0, 1.0, 1.0, 0.6),
    r"densenet169": (0.0, 1.0, 1.0, 1.0),
    r"densenet": (1.0, 0.0, 1.0, 1.0),
    r"convnext_tiny": (0.0, 0.0, 1.0, 1.0),
}
"""By the beginning of timm's name: the factors for FaceScrub. ResNets of 34 and more layers have `LAST_STAGE`."""


@final
class RoLSS(Defense):
    """`rolss`: the skip connections of some stages carry only a share of a map, projections included.

    A residual block gives F(x) + factor * skip(x). In a DenseNet each map reaches the next layer whole, and later
    layers of its block get only the first share of its channels.

    Attributes:
        factors: for each of the last stages, the share that skip connections carry; 1 leaves a stage as it is. None
            given, they are the published factors for FaceScrub: 0 in the last stage of a ResNet, 0.6 there for
            ResNet-18 (which the paper calls SSF), 0 in the first block of DenseNet-169 and in the second of other
            DenseNets, 0 in the first two stages of ConvNeXt-T. Other residual networks get those of a ResNet. For
            dogs the authors take the last stage of every network.
        stages: remove the skip connections of so many stages, counted from the last, in place of `factors`.
    """

    title = "RoLSS"
    paper = "RoLSS (Koh et al., ECCV 2024)"
    deviations = (
        Deviation(
            "DenseNet",
            "layers are built with fewer inputs",
            "channels that a layer does not get are zero behind its norm: the same function",
            "weights keep the shapes of pretrained files",
        ),
        Deviation(
            "MaxViT, ViT, DeiT",
            "MaxViT without the skips of two stages, ViT and DeiT without those of block 0",
            "refused",
            "their blocks in timm have no skip that can be exchanged",
        ),
        Deviation(
            "part of the third stage",
            "the last fifth of its blocks loses the skip in the latest version of the code",
            "not done",
            "no config names it; probably left over from an experiment",
        ),
    )
    kind: Literal["rolss"] = "rolss"
    factors: tuple[Share, ...] = Field((), max_length=16)
    stages: Count | None = None

    def changes(self) -> Changes:
        """Another network."""
        return Changes(network=self.with_weak_skips)

    def with_weak_skips(self, model: Classifier) -> Classifier:
        """Scale the skip connections stage by stage.

        Raises:
            UserError: the network has fewer stages with skip connections.
        """
        dense = dense_stages(model)
        found = residual_stages(model)
        count = len(dense or found)
        factors = self._for(model, count)
        if len(factors) > count:
            raise UserError(
                f"rolss weakens the skip connections of {self.stages or len(factors)} stage(s); {type(model).__name__} "
                f"has {count} with skip connections that it can weaken. "
                "Use a residual network: --model small-resnet, or zoo:NAME with a ResNet, ResNeSt, DenseNet or "
                "ConvNeXt of "
                "timm."
            )
        for number, factor in enumerate(factors, start=count - len(factors)):
            if factor == 1:
                continue
            if dense:
                scale_dense(*dense[number], factor)
            for block in [] if dense else found[number]:
                scale_skip(block, factor)
        return model

    def _for(self, model: nn.Module, count: int) -> tuple[float, ...]:
        """The factors of the last stages.

        A network with fewer than four stages has its last ones' if nothing is named.
        """
        if self.stages is not None:
            return (0.0,) * self.stages
        if self.factors:
            return self.factors
        name = ""
        if isinstance(model, ZooNet):
            name = str(model.backbone.pretrained_cfg.get("architecture", ""))
        published = next((of for start, of in PUBLISHED.items() if re.match(start, name)), LAST_STAGE)
        return published[-count:] if 0 < count < len(published) else published
