"""A defended training while it runs: the losses of each batch, and the state behind them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from trapmid.defenses.context import TrainingContext
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.guard import check_logits
from trapmid.types import Images, Labels, Stateful, prediction_of


class DefenseRun(ABC):
    """One training under a defense. It computes losses; the training loop takes the steps."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context

    @abstractmethod
    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The losses of a batch and other numbers to log, both by name.

        Args:
            images: (n, c, h, w) in [0, 1], not augmented.
            labels: (n,).
            epoch: counted from 0.

        Returns:
            The losses, scalars whose sum is back-propagated; and scalars that are only logged.
        """

    def through(self, model: nn.Module) -> None:
        """Call the classifier through `model`, the wrapper that a trainer has put around it."""
        self.context = replace(self.context, model=model)

    def calibration(self, images: Images) -> Tensor:
        """The images that a training step would show the classifier for a batch of clean `images`.

        Batch norm statistics are recomputed on these.
        """
        return self.context.augment(images)

    def examine(self, images: Images, rng: torch.Generator) -> Mapping[str, float]:
        """Numbers about the defense on validation images, once per epoch, with the classifier in eval mode."""
        del images, rng
        return {}

    def settled(self) -> bool:
        """Whether the epoch that has just ended may become the model: False while a schedule still runs."""
        return True

    def parts(self) -> Mapping[str, Stateful]:
        """Everything of the defense that changes during the training, for checkpoints."""
        return {}

    def secrets(self) -> Secrets | None:
        """The triggers, which only the defender may hold; None for a defense without a trapdoor."""
        return None

    def save_secrets(self, folder: Path) -> Path | None:
        """Write the secrets into a folder of their own; returns the file, or None if there are no secrets."""
        del folder
        return None


@final
class PlainRun(DefenseRun):
    """A training on clean images with the objective of its context."""

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The objective of augmented images, and the accuracy on them."""
        shown = self.context.augment(images)
        prediction = prediction_of(self.context.model(shown))
        check_logits(prediction.logits, self.context.images.num_classes)
        right = prediction.logits.argmax(1) == labels
        return self.context.objective(epoch).of(prediction, shown, labels), {"accuracy_in_batch": right.float().mean()}
