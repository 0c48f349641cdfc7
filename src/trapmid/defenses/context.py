"""The training that a defense joins, as far as a defense may look at it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from trapmid.augment import Augment
from trapmid.engine import Compute
from trapmid.models import ModelConfig
from trapmid.objective import CROSS_ENTROPY, Objective


@dataclass(frozen=True)
class TrainingImages:
    """The training images in numbers.

    Attributes:
        count: how many images there are.
        num_classes: how many identities they show.
        shape: (channels, height, width).
        mean: mean pixel in [0, 1], one number per channel.
    """

    count: int
    num_classes: int
    shape: tuple[int, int, int]
    mean: tuple[float, ...]


def plain_objective(epoch: int) -> Objective:
    """Cross-entropy in every epoch."""
    del epoch
    return CROSS_ENTROPY


@dataclass(frozen=True)
class TrainingContext:
    """A training that is about to begin.

    Attributes:
        model: the classifier, on its device.
        optimizer: the optimizer that trains it.
        architecture: config of the classifier, for defenses that build a second network like it; None for a network
            that trapmid did not build.
        images: the training images in numbers.
        epochs: how often every training image is seen.
        batch_size: images in a batch.
        augment: what is done to every image before the classifier sees it. It includes the changes of all joined
            defenses.
        compute: device and precision.
        seed: of the run.
        objective: what a step minimises in a given epoch, counted from 0. It includes the changes of all joined
            defenses.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    architecture: ModelConfig | None
    images: TrainingImages
    epochs: int
    batch_size: int
    augment: Augment
    compute: Compute
    seed: int
    objective: Callable[[int], Objective] = plain_objective

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; an incomplete last batch is left out."""
        return self.images.count // self.batch_size

    @property
    def steps(self) -> int:
        """Batches in the whole training."""
        return self.epochs * self.steps_per_epoch
