"""Trapdoors at about twice the cost of a plain training: triggers use gradients that are computed anyway.

This is a variant of Trap-MID that was not published before. For every batch, the published order (App. C.1, Alg. 1)
needs a step of the discriminator, another pass of classifier and discriminator for the triggers, and a classifier step
on twice the images. Here, as in free adversarial training (Shafahi et al., NeurIPS 2019),

- only a share of the batch is poisoned;
- the classifier's own backward pass yields the gradient of the triggers, so they are updated after the classifier and
  not before it;
- the discriminator's backward pass yields its part of that gradient, as the gradients of its loss (Eq. 4) and of the
  naturalness loss (Eq. 5) with respect to an image are both multiples of d logit / d image.
"""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from trapmid.objective import Objective
from trapmid.together import average_gradients, processes
from trapmid.trapdoor.naturalness import discriminator_accuracy, discriminator_loss
from trapmid.trapdoor.planter import Planter
from trapmid.trapdoor.settings import OnePassSettings, TrapdoorSettings
from trapmid.types import Images, Labels, logits_of


@final
class OnePassTrapdoor(Planter):
    """The drop-in with one pass of the classifier per batch.

    It is used like `Trapdoor`. The triggers are updated while the loss is back-propagated. The size of the update does
    not depend on the scale of the loss. `Planter` documents the arguments; `settings` are `OnePassSettings`.
    """

    defaults: ClassVar[TrapdoorSettings] = OnePassSettings()

    def _plant(
        self, images: Images, labels: Labels, objective: Objective
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The weighted terms of Eq. 2 and of the objective, the discriminator accuracy and the trapdoor success."""
        settings = self.settings
        assert isinstance(settings, OnePassSettings)
        hosts = self.hosts(images)
        targets = self.draw_targets(len(hosts), images.device)
        ratio = self._ratio(hosts)
        notes: dict[str, Tensor] = {}
        triggers, scale = self.triggers.detach(), torch.tensor(settings.weight)

        def remember(of_classification: Tensor) -> None:
            nonlocal scale
            scale = of_classification

        if self.step % settings.trigger_period == 0:
            natural = torch.zeros(())
            if self.discriminator is not None:
                natural, notes["discriminator_accuracy"] = self._train_discriminator(hosts, targets, ratio)

            def move(effect: Tensor) -> None:
                # with mixed precision, a scaled loss may overflow; such a gradient is useless for the triggers
                known = torch.nan_to_num(effect / scale, nan=0.0)
                gradient = settings.effect_weight * known + natural
                if processes() == 1:
                    self._step_triggers(gradient)
                else:  # after the wrapper has sent its last gradients, so that all processes send in the same order
                    engine = torch.autograd.Variable._execution_engine
                    engine.queue_callback(lambda: self._step_triggers(gradient))

            triggers.requires_grad_().register_hook(move)

        poisoned = self.poison(hosts, targets, triggers, ratio)
        shown = torch.cat([self.augment(images), self.augment(poisoned)])
        prediction = self.classify(shown)
        self.step += 1
        clean, trapped = prediction.part(slice(len(images))), prediction.part(slice(len(images), None))
        notes["trapdoor_success_in_batch"] = (trapped.logits.argmax(1) == targets).float().mean()
        losses = objective.of(clean, shown[: len(images)], labels, weight=1 - settings.weight)
        classification = self._loss_of_poisoned(objective, trapped.logits, targets)
        if classification.requires_grad:
            classification.register_hook(remember)
        losses["poisoned"] = settings.weight * classification
        return losses, notes

    def hosts(self, images: Images) -> Tensor:
        """The first images of the batch. `poisoned_share` determines their number."""
        assert isinstance(self.settings, OnePassSettings)
        return images[: max(1, round(self.settings.poisoned_share * len(images)))]

    def _train_discriminator(self, hosts: Images, targets: Labels, ratio: float | Tensor) -> tuple[Tensor, Tensor]:
        """One step of the discriminator; returns the naturalness loss's gradient for the triggers, and its accuracy."""
        assert self.discriminator is not None
        triggers = self.triggers.detach().requires_grad_()
        poisoned = self.poison(hosts, targets, triggers, ratio)
        seen = poisoned.detach().requires_grad_()
        for group in self.discriminator_optimizer.param_groups:
            group["lr"] = self._discriminator_rate
        self.discriminator.train()
        logits = logits_of(self.discriminator(torch.cat([hosts, seen])))
        self.discriminator_optimizer.zero_grad()
        discriminator_loss(logits).backward()
        average_gradients(self.discriminator)
        self.discriminator_optimizer.step()
        assert seen.grad is not None
        of_poisoned = naturalness_gradient(seen.grad, logits[len(hosts) :].detach())
        (gradient,) = torch.autograd.grad(poisoned, triggers, of_poisoned)
        return self.settings.naturalness_weight * gradient, discriminator_accuracy(logits.detach())


def naturalness_gradient(of_loss: Tensor, logits: Tensor) -> Tensor:
    """Turn the gradient of the discriminator's loss with respect to poisoned images into that of the naturalness loss.

    Let l be the logit of one of n poisoned images. The derivative of the discriminator's loss (Eq. 4) with respect to l
    is sigmoid(l) / 2n, that of the naturalness loss (Eq. 5) is -sigmoid(-l) / n, and their ratio is -2 exp(-l). The
    result is exact where the discriminator treats images one by one; batch norm in train mode couples them a little.

    Args:
        of_loss: the gradient of the discriminator's loss, (n, c, h, w).
        logits: the discriminator's logits of the same images, (n, 1).
    """
    return of_loss * (-2 * torch.exp(-logits.clamp(-10, 10))).view(-1, 1, 1, 1)
