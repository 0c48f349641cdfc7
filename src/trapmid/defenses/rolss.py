"""RoLSS (Koh et al., ECCV 2024): no skip connections in the last stages, since they help an inversion."""

from typing import Literal, final

from trapmid.config import Count
from trapmid.defenses.changes import Changes
from trapmid.defenses.defense import Defense
from trapmid.models import Classifier
from trapmid.models.residual import remove_skip, residual_stages
from trapmid.types import UserError


@final
class RoLSS(Defense):
    """`rolss`: the skip connections of the last stages are removed before training.

    Attributes:
        stages: how many stages lose them, counted from the last.
    """

    title = "RoLSS"
    paper = "RoLSS (Koh et al., ECCV 2024)"
    kind: Literal["rolss"] = "rolss"
    stages: Count = 1

    def changes(self) -> Changes:
        """Another network."""
        return Changes(network=self.without_skips)

    def without_skips(self, model: Classifier) -> Classifier:
        """Remove the skip connections of the last stages.

        Raises:
            UserError: the network has fewer stages with skip connections.
        """
        found = residual_stages(model)
        if len(found) < self.stages:
            raise UserError(
                f"rolss removes the skip connections of {self.stages} stage(s); {type(model).__name__} has "
                f"{len(found)} with skip connections that add. "
                "Use a residual network: --model small-resnet, or zoo:NAME with a ResNet or ResNeSt of timm."
            )
        for stage in found[-self.stages :]:
            for block in stage:
                remove_skip(block)
        return model
