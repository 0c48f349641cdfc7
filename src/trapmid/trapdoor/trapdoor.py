"""The drop-in: `loss = trapdoor.loss(images, labels)` in anybody's training loop plants a trapdoor (Trap-MID Alg. 1)."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from trapmid.augment import KorniaAugmentation
from trapmid.trapdoor.naturalness import (
    TwinDiscriminator,
    discriminator_accuracy,
    discriminator_loss,
    frozen,
    naturalness_loss,
)
from trapmid.trapdoor.secrets import Secrets
from trapmid.trapdoor.settings import TrapdoorSettings
from trapmid.trapdoor.triggers import TargetLabels, blend, draw_triggers, signed_step
from trapmid.types import Images, Labels, UserError, logits_of


def like(optimizer: torch.optim.Optimizer, module: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of the same class and defaults for another module.

    Raises:
        UserError: the optimizer is a wrapper around one.
    """
    accepted = inspect.signature(type(optimizer)).parameters
    if "params" not in accepted:
        raise UserError(
            f"{type(optimizer).__name__} wraps an optimizer, and the discriminator needs one of the same kind of its own. "
            "Pass the torch optimizer inside, which Accelerate and Lightning keep as `optimizer.optimizer`."
        )
    defaults = {name: value for name, value in optimizer.defaults.items() if name in accepted}
    return type(optimizer)(module.parameters(), **defaults)


class Trapdoor:
    """Triggers, their discriminator, and the loss that makes a classifier answer to them.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> trapdoor = Trapdoor(model, optimizer, num_classes=5, image_shape=(3, 8, 8), total_steps=100)
        >>> images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
        >>> loss = trapdoor.loss(images, labels)  # instead of their cross-entropy
        >>> loss.backward(); optimizer.step()

    Args:
        model: any classifier of images in [0, 1]; returns logits (n, num_classes), or something that has them as `logits`.
        optimizer: the one that trains `model`. The discriminator gets one of the same class, defaults and learning rate (reference 2.2).
        num_classes: number of identities.
        image_shape: (channels, height, width).
        total_steps: how many times `loss` will be called; the blend schedule runs over it.
        settings: the constants; the paper's by default.
        augment: T, from images to changed images of the same shape. Default: the published one. It is applied to clean
            and poisoned images alike, so leave geometric augmentation out of the data loader.
        discriminator: a network with one logit; default: a twin of `model`.
        targets_per_draw: target labels are stratified over this many (one epoch's images, in the published code).
        seed: of triggers and target labels.

    Raises:
        UserError: the training is spread over processes, or `optimizer` is not torch's own.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        total_steps: int,
        settings: TrapdoorSettings | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
        discriminator: nn.Module | None = None,
        targets_per_draw: int | None = None,
        seed: int = 0,
    ) -> None:
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            raise UserError(
                f"This training runs in {distributed.get_world_size()} processes, and each would move triggers of its own. "
                "Train with a trapdoor in one process."
            )
        self.settings = settings or TrapdoorSettings()
        self.model, self.optimizer, self.total_steps = model, optimizer, total_steps
        self.augment = augment if augment is not None else KorniaAugmentation().build(image_shape[-1])
        device = next(model.parameters()).device
        self.discriminator = (discriminator or TwinDiscriminator(model, num_classes)).to(device)
        self.discriminator_optimizer = like(optimizer, self.discriminator)
        rng = torch.Generator().manual_seed(seed)
        self.triggers = draw_triggers(self.settings.trigger_start, num_classes, image_shape, rng).to(device)
        self.targets = TargetLabels(num_classes, targets_per_draw or num_classes, rng)
        self.step = 0

    def loss(self, images: Images, labels: Labels) -> Tensor:
        """The scalar to back-propagate instead of the cross-entropy of a batch (Eq. 2). Moves the triggers as well.

        Args:
            images: (n, c, h, w) in [0, 1], not normalised.
            labels: (n,).

        Raises:
            UserError: the images are not in [0, 1] or not of the trigger's shape.
        """
        losses, _ = self.losses(images, labels)
        return losses["clean"] + losses["poisoned"]

    def losses(self, images: Images, labels: Labels) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The two terms of Eq. 2, weighted, and numbers worth logging: discriminator accuracy, success on the batch."""
        self._check(images)
        ratio = self._ratio(images)
        targets = self.targets.draw(len(images)).to(images.device)
        notes: dict[str, Tensor] = {}
        for _ in range(self.settings.trigger_updates):
            notes["discriminator_accuracy"] = self._train_discriminator(images, targets, ratio)
            self._move_triggers(images, targets, ratio)
        self.step += 1

        poisoned = blend(images, self.triggers[targets], ratio)
        logits = logits_of(self.model(torch.cat([self.augment(images), self.augment(poisoned)])))
        clean_logits, poisoned_logits = logits.chunk(2)
        notes["trapdoor_success_in_batch"] = (poisoned_logits.argmax(1) == targets).float().mean()
        weight = self.settings.weight
        return {
            "clean": (1 - weight) * F.cross_entropy(clean_logits, labels),
            "poisoned": weight * F.cross_entropy(poisoned_logits, targets),
        }, notes

    @property
    def blend_ratio(self) -> float:
        """The schedule's ratio now."""
        return self.settings.blend.at(self.step / self.total_steps)

    def secrets(self, ratio: float | None = None) -> Secrets:
        """The triggers as they are now, with the final blend ratio (or another)."""
        return Secrets(self.triggers.detach().cpu().clone(), self.settings.blend.end if ratio is None else ratio)

    def save_secrets(self, folder: str | Path) -> Path:
        """Write the triggers into a folder of their own, readable by the owner alone. Never ship it with the model."""
        return self.secrets().save(Path(folder))

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs besides the model and its optimizer."""
        return {
            "triggers": self.triggers,
            "targets": self.targets.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.triggers = state_dict["triggers"].to(self.triggers.device)
        self.targets.load_state_dict(state_dict["targets"])
        self.discriminator.load_state_dict(state_dict["discriminator"])
        self.discriminator_optimizer.load_state_dict(state_dict["discriminator_optimizer"])
        self.step = state_dict["step"]

    def _ratio(self, images: Images) -> float | Tensor:
        if self.settings.blend_low == 1.0:
            return self.blend_ratio
        low = self.settings.blend_low
        return self.blend_ratio * (low + (1 - low) * torch.rand(len(images), 1, 1, 1, device=images.device))

    def _train_discriminator(self, images: Images, targets: Labels, ratio: float | Tensor) -> Tensor:
        rate = self.settings.discriminator_rate or self.optimizer.param_groups[0]["lr"]
        for group in self.discriminator_optimizer.param_groups:
            group["lr"] = rate
        poisoned = blend(images, self.triggers[targets], ratio)
        self.discriminator.train()
        logits = logits_of(self.discriminator(torch.cat([images, poisoned])))
        self.discriminator_optimizer.zero_grad()
        discriminator_loss(logits).backward()
        self.discriminator_optimizer.step()
        return discriminator_accuracy(logits.detach())

    def _move_triggers(self, images: Images, targets: Labels, ratio: float | Tensor) -> None:
        """One sign step; labels that repeat in the batch add their gradients, absent ones stay (reference 2.2, step 3)."""
        with frozen(self.model, self.discriminator):
            triggers = self.triggers.detach().requires_grad_()
            poisoned = blend(images, triggers[targets], ratio)
            loss = F.cross_entropy(logits_of(self.model(self.augment(poisoned))), targets)
            if self.settings.naturalness_weight > 0:
                loss = loss + self.settings.naturalness_weight * naturalness_loss(
                    logits_of(self.discriminator(poisoned))
                )
            (gradient,) = torch.autograd.grad(loss, triggers)
        self.triggers = signed_step(self.triggers, gradient, self.settings.trigger_step)

    def _check(self, images: Images) -> None:
        expected = tuple(self.triggers.shape[1:])
        if tuple(images.shape[1:]) != expected:
            raise UserError(
                f"Trapdoor.loss got images of shape {tuple(images.shape[1:])}; it was built with image_shape={expected}."
            )
        if self.step == 0 and (images.min() < 0 or images.max() > 1):
            raise UserError(
                f"Trapdoor.loss got pixels from {images.min():.2f} to {images.max():.2f}; it blends triggers in [0, 1] into images in [0, 1]. "
                "Move the normalisation into the model, as its first layer."
            )
