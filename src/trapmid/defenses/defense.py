"""What a defense is: a frozen config that starts a run, which lives for one training and yields the losses of each batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from trapmid.augment import Augment
from trapmid.config import Member
from trapmid.engine import Compute
from trapmid.models import ModelConfig
from trapmid.trapdoor import Secrets
from trapmid.types import Images, Labels, Stateful


@dataclass(frozen=True)
class Setting:
    """The training that a defense is about to join.

    Attributes:
        model: the classifier, placed on the device (and so perhaps wrapped).
        optimizer: trains it.
        architecture: of the classifier, for defenses that build a second network like it; None for a network we did not build.
        num_classes: identities it tells apart.
        image_shape: (channels, height, width).
        epochs: how often every training image is seen.
        steps_per_epoch: batches in each.
        batch_size: images in each batch.
        augment: the recipe's augmentation: the same for every defense.
        compute: device and precision.
        seed: of the run.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    architecture: ModelConfig | None
    num_classes: int
    image_shape: tuple[int, int, int]
    epochs: int
    steps_per_epoch: int
    batch_size: int
    augment: Augment
    compute: Compute
    seed: int


class DefenseRun(ABC):
    """One defended training."""

    @abstractmethod
    def losses(self, images: Images, labels: Labels) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The losses of a batch, by name, for the engine to sum and back-propagate; and scalars that are only logged."""

    def calibration(self, images: Images) -> Tensor:
        """What a training step shows the classifier for a batch of clean `images`, for recomputing batch norm statistics."""
        return images

    def examine(self, images: Images, rng: torch.Generator) -> Mapping[str, float]:
        """Numbers about the defense on validation images, once an epoch, with the model in eval mode."""
        del images, rng
        return {}

    def settled(self) -> bool:
        """Whether the epoch that just ended may become the model: False while a schedule of the defense is under way."""
        return True

    def parts(self) -> Mapping[str, Stateful]:
        """Everything of the defense that changes over the training."""
        return {}

    def secrets(self) -> Secrets | None:
        """What only the defender may hold, if the defense has any."""
        return None

    def advice(self, last: Mapping[str, float]) -> Iterator[str]:
        """Plain warnings drawn from the last row of the training log."""
        del last
        yield from ()


class Defense(Member, ABC):
    """A way of training a classifier so that it gives less away.

    Attributes:
        has_trapdoor: whether a training leaves triggers, and so signatures, behind.
    """

    has_trapdoor: ClassVar[bool] = False

    @abstractmethod
    def start(self, setting: Setting) -> DefenseRun:
        """Join a training that is about to begin."""
