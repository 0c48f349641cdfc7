"""The drop-in: `loss = trapdoor.loss(images, labels)` in a loop plants a trapdoor (Trap-MID, App. C.1, Alg. 1)."""

from collections.abc import Mapping
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from trapmid.objective import Objective
from trapmid.together import average_gradients
from trapmid.trapdoor.naturalness import (
    discriminator_accuracy,
    discriminator_loss,
    frozen,
    indecision_loss,
    naturalness_loss,
)
from trapmid.trapdoor.planter import Planter
from trapmid.types import Images, Labels, Prediction, logits_of


@final
class Trapdoor(Planter):
    """Trap-MID as published: a step of the discriminator, one of the triggers, and a loss of clean and poisoned images.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> trapdoor = Trapdoor(model, optimizer, num_classes=5, image_shape=(3, 8, 8), total_steps=100)
        >>> images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
        >>> loss = trapdoor.loss(images, labels)  # instead of their cross-entropy
        >>> loss.backward(); optimizer.step()

    `Planter` documents the arguments.
    """

    def _plant(
        self, images: Images, labels: Labels, objective: Objective
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The weighted terms of Eq. 2 and of the objective; the discriminator's accuracy, the trapdoor's success."""
        ratio = self._ratio(images)
        targets = self.draw_targets(len(images), images.device)
        notes: dict[str, Tensor] = {}
        for _ in range(self.settings.trigger_updates):
            notes |= self._train_discriminators(images, targets, ratio)
            self._move_triggers(images, targets, ratio, objective)
        self.step += 1

        shown = torch.cat([self.augment(images), self.augment(self.poison(images, targets, self.triggers, ratio))])
        prediction = self.classify(shown)
        clean, poisoned = prediction.part(slice(len(images))), prediction.part(slice(len(images), None))
        notes["trapdoor_success_in_batch"] = (poisoned.logits.argmax(1) == targets).float().mean()
        weight = self.settings.weight
        losses = objective.of(clean, shown[: len(images)], labels, weight=1 - weight)
        losses["poisoned"] = weight * self._loss_of_poisoned(objective, poisoned.logits, targets)
        if self.settings.feature_discriminator is not None and self.feature_discriminator is not None:
            settings, seen = self.settings.feature_discriminator, prediction
            loss_of = indecision_loss
            if settings.aim == "clean":
                loss_of, seen = naturalness_loss, poisoned
            with frozen(self.feature_discriminator):
                natural = loss_of(self.feature_discriminator(seen))
            losses["natural_features"] = weight * settings.model_weight * natural
        return losses, notes

    def _train_discriminators(self, images: Images, targets: Labels, ratio: float | Tensor) -> dict[str, Tensor]:
        """One step of each discriminator; returns their accuracies."""
        features_of = self.settings.feature_discriminator
        if self.discriminator is None:
            return {}
        both = torch.cat([images, self.poison(images, targets, self.triggers, ratio)])
        learn = partial(_learn, rate=self._discriminator_rate)
        notes = {"discriminator_accuracy": learn(self.discriminator, self.discriminator_optimizer, both)}
        if self.feature_discriminator is not None and features_of is not None:
            with frozen(self.inner), torch.no_grad():
                shown = both if features_of.images == "plain" else self.augment(both)
                prediction = self.classify(shown, self.inner)
            notes["feature_discriminator_accuracy"] = learn(
                self.feature_discriminator, self.feature_discriminator_optimizer, prediction
            )
        return notes

    def _move_triggers(self, images: Images, targets: Labels, ratio: float | Tensor, objective: Objective) -> None:
        """One sign step. Gradients of images with the same target label add up; triggers of absent labels stay."""
        settings, losses, natural = self.settings, [], []
        judges = [net for net in (self.discriminator, self.feature_discriminator) if net is not None]
        with frozen(self.inner, *judges):
            triggers = self.triggers.detach().requires_grad_()
            poisoned = self.poison(images, targets, triggers, ratio)
            if settings.effect_weight > 0 or self.feature_discriminator is not None:
                prediction = self.classify(self.augment(poisoned), self.inner)
                losses.append(settings.effect_weight * self._loss_of_poisoned(objective, prediction.logits, targets))
                if self.feature_discriminator is not None:
                    natural.append(naturalness_loss(self.feature_discriminator(prediction)))
            if self.discriminator is not None:
                natural.append(naturalness_loss(logits_of(self.discriminator(poisoned))))
                losses.append(settings.naturalness_weight * torch.stack(natural).mean())
            (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), triggers)
        self._step_triggers(gradient)


def _learn(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor | Prediction, rate: float) -> Tensor:
    """One step of a discriminator on inputs whose first half is clean (Eq. 4); returns its accuracy."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    network.train()
    logits = logits_of(network(inputs))
    optimizer.zero_grad()
    discriminator_loss(logits).backward()
    average_gradients(network)
    optimizer.step()
    return discriminator_accuracy(logits.detach())
