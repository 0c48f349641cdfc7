"""Trap-MID (Liu & Chen, NeurIPS 2024): trapdoors that lead an inversion astray. The work is in `trapmid.trapdoor`."""

from collections.abc import Iterator, Mapping
from typing import Literal, final

import torch
from torch import Tensor

from trapmid.defenses.defense import Defense, DefenseRun, Setting
from trapmid.engine import seed_of
from trapmid.models import AnyModel
from trapmid.trapdoor import Secrets, Trapdoor, TrapdoorSettings, trapdoor_success
from trapmid.trapdoor.triggers import blend
from trapmid.types import Images, Labels, Stateful


@final
class TrapMID(TrapdoorSettings, Defense):
    """`trapmid`: the published defense; every default is the paper's (reference 2).

    Attributes:
        discriminator: its architecture; None for the target's, as published. A lighter one is cheaper.
    """

    paper = "Trap-MID (Liu & Chen, NeurIPS 2024), Eq. 2-5, Alg. 1"
    has_trapdoor = True
    kind: Literal["trapmid"] = "trapmid"
    discriminator: AnyModel | None = None

    def start(self, setting: Setting) -> DefenseRun:
        """Draw triggers and build the discriminator."""
        return TrapMIDRun(self, setting)


@final
class TrapMIDRun(DefenseRun):
    """One training with trapdoors."""

    def __init__(self, config: TrapMID, setting: Setting) -> None:
        channels, size, _ = setting.image_shape
        architecture = config.discriminator or setting.architecture
        discriminator = None if architecture is None else architecture.build(1, size, channels)
        self.setting = setting
        self.trapdoor = Trapdoor(
            setting.model,
            setting.optimizer,
            num_classes=setting.num_classes,
            image_shape=setting.image_shape,
            total_steps=setting.epochs * setting.steps_per_epoch,
            settings=config,
            augment=setting.augment,
            discriminator=None if discriminator is None else setting.compute.place(discriminator),
            targets_per_draw=setting.batch_size * setting.steps_per_epoch,
            seed=seed_of(setting.seed, "trapdoor"),
        )

    def losses(self, images: Images, labels: Labels) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Eq. 2, after a step of the discriminator and of the triggers."""
        return self.trapdoor.losses(images, labels)

    def calibration(self, images: Images) -> Tensor:
        """Augmented clean and poisoned images together, as a training step shows them."""
        door = self.trapdoor
        targets = torch.randint(len(door.triggers), (len(images),)).to(images.device)
        poisoned = blend(images, door.triggers[targets], door.blend_ratio)
        return torch.cat([self.setting.augment(images), self.setting.augment(poisoned)])

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
        """Triggers, target labels, discriminator and its optimizer."""
        return {"trapdoor": self.trapdoor}

    def secrets(self) -> Secrets:
        """The triggers."""
        return self.trapdoor.secrets()

    def advice(self, last: Mapping[str, float]) -> Iterator[str]:
        """Whether the trapdoor took and is natural; the paper asks for a success above 99 % (App. C.4)."""
        success, accuracy = last.get("trapdoor_success", 1.0), last.get("discriminator_accuracy", 0.5)
        if success < 0.95:
            yield (
                f"The trapdoor did not take: success {success:.1%} on validation images, where the paper asks for more than 99 %. "
                "Train longer, start the blend schedule higher (blend.start=0.2), or let triggers move more (trigger_updates=2). "
                "A model without a working trapdoor is not protected by it."
            )
        if accuracy > 0.9:
            yield (
                f"The triggers are easy to tell from clean images: the discriminator is right {accuracy:.0%} of the time (50 % would be natural). "
                "An attacker's prior will avoid them. Lower blend.end or raise naturalness_weight."
            )
