"""The properties of a training that a defense can access."""

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
    """Properties of the training images.

    Attributes:
        count: number of images.
        num_classes: number of identities.
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
        images: properties of the training images.
        epochs: number of passes over the training images.
        batch_size: number of images in a batch.
        augment: the augmentation of every image before the classifier. It includes the changes of all joined
            defenses.
        compute: device and precision.
        seed: seed of the run.
        objective: the objective of a step in a given epoch, counted from 0. It includes the changes of all joined
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
        """Number of batches in an epoch. An incomplete last batch is left out."""
        return self.images.count // self.batch_size

    @property
    def steps(self) -> int:
        """Number of batches in the whole training."""
        return self.epochs * self.steps_per_epoch
