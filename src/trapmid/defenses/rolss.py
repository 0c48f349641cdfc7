"""RoLSS (Koh et al., ECCV 2024): no skip connections in the last stage, since an inversion's gradients come through them so easily."""

from typing import Literal, final

from trapmid.config import Count
from trapmid.defenses.defense import Modifier
from trapmid.models import Classifier
from trapmid.models.residual import remove_skip, residual_stages
from trapmid.types import UserError


@final
class RoLSS(Modifier):
    """`rolss`: removal of the last stages' skip connections, from the first training step on.

    Attributes:
        stages: how many, counted from the last.
    """

    title = "RoLSS"
    paper = "RoLSS (Koh et al., ECCV 2024)"
    kind: Literal["rolss"] = "rolss"
    stages: Count = 1

    @property
    def is_in_its_losses(self) -> bool:
        """No: it changes the network."""
        return False

    def adapt(self, model: Classifier) -> Classifier:
        """The same network with fewer skip connections.

        Raises:
            UserError: it has fewer stages with skip connections.
        """
        found = residual_stages(model)
        if len(found) < self.stages:
            raise UserError(
                f"rolss removes the skip connections of {self.stages} stage(s); {type(model).__name__} has {len(found)} with skip connections that add. "
                "Use a residual network: --model small-resnet, or zoo:NAME with a ResNet or ResNeSt of timm."
            )
        for stage in found[-self.stages :]:
            for block in stage:
                remove_skip(block)
        return model
