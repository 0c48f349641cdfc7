"""Training with trapdoors: what every defense that plants triggers shares. The work is in `trapmid.trapdoor`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor

from trapmid.defenses.defense import Decision, Defense, DefenseRun, Setting
from trapmid.engine import seed_of
from trapmid.models import AnyModel
from trapmid.trapdoor import Planter, Secrets, TrapdoorSettings, trapdoor_success
from trapmid.types import Images, Labels, Stateful


class Planting(TrapdoorSettings, Defense, ABC):
    """A defense that teaches the classifier to answer to triggers.

    Attributes:
        discriminator: its architecture; None for the target's, as published. A lighter one is cheaper.
    """

    decides: ClassVar[frozenset[Decision]] = frozenset({"how the weights take a step"})
    discriminator: AnyModel | None = None

    @property
    def has_trapdoor(self) -> bool:
        """Yes."""
        return True

    @abstractmethod
    def planter(self) -> type[Planter]:
        """In which order a batch moves discriminator, triggers and classifier."""

    @final
    def start(self, setting: Setting) -> DefenseRun:
        """Draw triggers and build the discriminator."""
        return PlantingRun(self, setting)

    def advice(self, setting: Setting, last: Mapping[str, float]) -> Iterator[str]:
        """Whether the trapdoor took, is natural and is secret; the paper asks for a success above 99 % (App. C.4)."""
        del setting
        success, accuracy = last.get("trapdoor_success", 1.0), last.get("discriminator_accuracy", 0.5)
        if success < 0.95:
            yield (
                f"The trapdoor did not take: success {success:.1%} on validation images, where the paper asks for more than 99 %. "
                "Train longer, start the blend schedule higher (blend.start=0.2), or let triggers move more (trigger_updates=2). "
                "A model without a working trapdoor is not protected by it."
            )
        if self.trigger_updates == 0:
            yield (
                "These triggers do not move, so they follow from the seed alone, and manifest.json names the seed: whoever reads it has them. "
                "Publish the weights without the manifest."
            )
        if accuracy > 0.9:
            yield (
                f"The triggers are easy to tell from clean images: the discriminator is right {accuracy:.0%} of the time (50 % would be natural). "
                "An attacker's prior will avoid them. Lower blend.end or raise naturalness_weight."
            )


@final
class PlantingRun(DefenseRun):
    """One training with trapdoors."""

    def __init__(self, config: Planting, setting: Setting) -> None:
        super().__init__(setting)
        channels, size, _ = setting.image_shape
        architecture, discriminator = config.discriminator or setting.architecture, None
        if config.discriminates and architecture is not None:
            discriminator = setting.compute.place(architecture.build(1, size, channels))
        self.trapdoor = config.planter()(
            setting.model,
            setting.optimizer,
            num_classes=setting.num_classes,
            image_shape=setting.image_shape,
            total_steps=setting.steps,
            settings=config,
            augment=setting.augment,
            discriminator=discriminator,
            targets_per_draw=setting.batch_size * setting.steps_per_epoch,
            seed=seed_of(setting.seed, "trapdoor"),
        )

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Eq. 2, after a step of the discriminator and of the triggers."""
        return self.trapdoor.losses(images, labels, self.setting.objective(epoch))

    def calibration(self, images: Images) -> Tensor:
        """Augmented clean and poisoned images together, in the planter's shares."""
        return self.trapdoor.shown(images)

    def examine(self, images: Images, rng: torch.Generator) -> Mapping[str, float]:
        """Trapdoor success at the ratio of the moment."""
        secrets = self.trapdoor.secrets(ratio=self.trapdoor.blend_ratio)
        return {
            "trapdoor_success": trapdoor_success(self.setting.model, secrets, images, rng),
            "blend_ratio": self.trapdoor.blend_ratio,
        }

    def settled(self) -> bool:
        """Once the blend ratio has come down to what the trapdoor will be used with."""
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
