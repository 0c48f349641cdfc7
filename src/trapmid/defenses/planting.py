"""Training with trapdoors: the common parts of all defenses that plant triggers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense, Findings
from trapmid.defenses.runs import DefenseRun
from trapmid.engine import seed_of
from trapmid.models import AnyModel
from trapmid.trapdoor import Planter, Secrets, TrapdoorSettings, trapdoor_success
from trapmid.types import Images, Labels, Stateful


class Planting(TrapdoorSettings, Defense, ABC):
    """A defense that teaches the classifier to respond to triggers.

    Attributes:
        discriminator: architecture of the discriminator; None for the classifier's, as published. A lighter one is
            cheaper.
    """

    discriminator: AnyModel | None = None

    @abstractmethod
    def planter(self) -> type[Planter]:
        """The drop-in that plants the triggers. It determines the order of the updates."""

    @final
    def changes(self) -> Changes:
        """Losses that plant a trapdoor."""
        return Changes(run=partial(PlantingRun, self), trapdoor=True)

    def findings(self, context: TrainingContext, last: Mapping[str, float]) -> Findings:
        """Whether the trapdoor works, is natural and is secret. The paper asks for a success above 99 % (App. C.4)."""
        success, accuracy = last.get("trapdoor_success", 1.0), last.get("discriminator_accuracy", 0.5)
        warnings = []
        if success < 0.95:
            warnings.append(
                f"The model did not learn the trapdoor: success {success:.1%} on validation images, where the paper "
                "asks for more than 99 %. Train longer, or raise the blend schedule (blend.start=0.2, or a higher "
                "blend.end). A model without a working trapdoor is not protected by it."
            )
        if self.trigger_updates == 0:
            warnings.append(
                "These triggers do not move, so they follow from the seed alone, and manifest.json names the seed: "
                "anybody who reads the manifest can make them. "
                "Publish the weights without the manifest."
            )
        architecture = context.architecture
        if self.anonymity_weight > 0 and architecture is not None and not architecture.is_pretrained:
            warnings.append(
                "anonymity_weight is above 0, and the network started from random weights, whose features tell nobody "
                "apart. Give it a pretrained start (model.start or model.weights)."
            )
        if accuracy > 0.9:
            warnings.append(
                f"The triggers are easy to tell from clean images: the discriminator is right {accuracy:.0%} of the "
                "time (50 % would be natural). "
                "An attacker's prior will avoid them. Lower blend.end or raise naturalness_weight."
            )
        return Findings(warnings=tuple(warnings))


@final
class PlantingRun(DefenseRun):
    """One training with trapdoors."""

    def __init__(self, config: Planting, context: TrainingContext) -> None:
        super().__init__(context)
        channels, size, _ = context.images.shape
        architecture, discriminator = config.discriminator or context.architecture, None
        if config.discriminates and architecture is not None:
            discriminator = context.compute.place(architecture.build(1, size, channels))
        self.trapdoor = config.planter()(
            context.model,
            context.optimizer,
            num_classes=context.images.num_classes,
            image_shape=context.images.shape,
            total_steps=context.steps,
            settings=config,
            augment=context.augment,
            discriminator=discriminator,
            targets_per_draw=context.batch_size * context.steps_per_epoch,
            seed=seed_of(context.seed, "trapdoor"),
        )

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The terms of Eq. 2, after a step of the discriminator and of the triggers."""
        return self.trapdoor.unchecked_losses(images, labels, self.context.objective(epoch))

    def through(self, model: nn.Module) -> None:
        """See `Planter.through`."""
        super().through(model)
        self.trapdoor.through(model)

    def calibration(self, images: Images) -> Tensor:
        """Augmented clean and poisoned images together, in the shares of a training step."""
        return self.trapdoor.shown(images)

    def examine(self, images: Images, rng: torch.Generator) -> Mapping[str, float]:
        """The success of the trapdoor at the current blend ratio, and that ratio."""
        secrets = self.trapdoor.secrets(ratio=self.trapdoor.blend_ratio)
        return {
            "trapdoor_success": trapdoor_success(self.context.model, secrets, images, rng),
            "blend_ratio": self.trapdoor.blend_ratio,
        }

    def settled(self) -> bool:
        """Whether the blend ratio has reached its final value."""
        return self.trapdoor.blend_ratio == self.trapdoor.settings.blend.end

    def parts(self) -> Mapping[str, Stateful]:
        """Triggers, target labels, discriminators and their optimizers."""
        return {"trapdoor": self.trapdoor}

    def secrets(self) -> Secrets:
        """The triggers."""
        return self.trapdoor.secrets()

    def save_secrets(self, folder: Path) -> Path:
        """Write the triggers, as `Planter.save_secrets` does."""
        return self.trapdoor.save_secrets(folder)
