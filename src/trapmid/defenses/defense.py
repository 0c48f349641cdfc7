"""What a defense is: a frozen config that may change the network, the batches and the objective, and that starts a run.

A run lives for one training and yields the losses of each batch. Most defenses are a `Modifier`: they say what is different and
leave the steps alone, so that any number of them joins any other defense in a stack (`trapmid.defenses.stacked`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from trapmid.augment import Augment
from trapmid.config import Member
from trapmid.engine import Compute
from trapmid.models import Classifier, ModelConfig
from trapmid.objective import CROSS_ENTROPY, Objective
from trapmid.trapdoor import Secrets
from trapmid.types import Images, Labels, Stateful, prediction_of

Decision = Literal["what a classification costs", "which images make a batch", "how the weights take a step"]


@dataclass(frozen=True)
class Setting:
    """The training that a defense is about to join.

    Attributes:
        model: the classifier, placed on the device (and so perhaps wrapped).
        classifier: the same, bare.
        optimizer: trains it.
        architecture: of the classifier, for defenses that build a second network like it; None for a network we did not build.
        num_classes: identities it tells apart.
        image_shape: (channels, height, width).
        images: how many there are to train on.
        mean: of their pixels in [0, 1], one number a channel.
        epochs: how often every training image is seen.
        steps_per_epoch: batches in each.
        batch_size: images in each batch.
        augment: the recipe's augmentation: the same for every defense.
        compute: device and precision.
        seed: of the run.
        modifiers: the defenses whose changes of augmentation (made already) and objective hold.
    """

    model: nn.Module
    classifier: nn.Module
    optimizer: torch.optim.Optimizer
    architecture: ModelConfig | None
    num_classes: int
    image_shape: tuple[int, int, int]
    images: int
    mean: tuple[float, ...]
    epochs: int
    steps_per_epoch: int
    batch_size: int
    augment: Augment
    compute: Compute
    seed: int
    modifiers: "tuple[Modifier, ...]" = ()

    @property
    def steps(self) -> int:
        """Batches over the whole training."""
        return self.epochs * self.steps_per_epoch

    def with_modifiers(self, modifiers: "Sequence[Modifier]") -> "Setting":
        """The same training with more defenses joined to it."""
        augment = self.augment
        for modifier in modifiers:
            augment = modifier.augment(augment, self.mean)
        return replace(self, augment=augment, modifiers=(*self.modifiers, *modifiers))

    def objective(self, epoch: int) -> Objective:
        """What a step of the epoch (from 0) minimises, after every modifier's change."""
        objective = CROSS_ENTROPY
        for modifier in self.modifiers:
            objective = modifier.objective(objective, epoch, self.epochs)
        return objective


class DefenseRun(ABC):
    """One defended training."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @abstractmethod
    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The losses of a batch, by name, for the engine to sum; and scalars that are only logged."""

    def update(self, loss: Tensor) -> None:
        """Move the weights against the summed losses of a batch."""
        self.setting.optimizer.zero_grad()
        loss.backward()
        self.setting.optimizer.step()

    def calibration(self, images: Images) -> Tensor:
        """What a training step shows the classifier for a batch of clean `images`, for recomputing batch norm statistics."""
        return self.setting.augment(images)

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

    def save_secrets(self, folder: Path) -> Path | None:
        """Write what only the defender may hold into a folder of its own; None if there is nothing."""
        del folder
        return None


class Defense(Member, ABC):
    """A way of training a classifier so that it gives less away."""

    decides: ClassVar[frozenset[Decision]] = frozenset()
    """What no second defense in a stack may decide as well."""

    @property
    def has_trapdoor(self) -> bool:
        """Whether a training leaves triggers, and so signatures, behind."""
        return False

    @property
    def is_in_its_losses(self) -> bool:
        """Whether its losses are all there is to it, so that it works in anybody's loop with anybody's network."""
        return True

    @abstractmethod
    def start(self, setting: Setting) -> DefenseRun:
        """Join a training that is about to begin."""

    def adapt(self, model: Classifier) -> Classifier:
        """The network to train in place of a newly built one; opening a trained model repeats it before the weights are loaded."""
        return model

    def batches(self, labels: Labels, batch_size: int, rng: torch.Generator) -> Sequence[Tensor]:
        """Rows of the training images for each step of one epoch: len(labels) // batch_size of them.

        Every image once, in random order; an incomplete last batch is left out, as published.
        """
        steps = len(labels) // batch_size
        return torch.randperm(len(labels), generator=rng)[: steps * batch_size].split(batch_size)

    def facts(self, setting: Setting) -> Mapping[str, Any]:
        """What the manifest should say about a finished training besides its config, JSON-like."""
        del setting
        return {}

    def notes(self, setting: Setting) -> Iterator[str]:
        """Plain sentences about a finished training that whoever trained it should read, and that are no warnings."""
        del setting
        yield from ()

    def advice(self, setting: Setting, last: Mapping[str, float]) -> Iterator[str]:
        """Plain warnings drawn from the setting and the last row of the training log."""
        del setting, last
        yield from ()


class Modifier(Defense, ABC):
    """A defense that leaves the steps of a training as they are: it joins any other defense."""

    @final
    def start(self, setting: Setting) -> DefenseRun:
        """Alone, it joins a plain training."""
        return PlainRun(setting.with_modifiers((self,)))

    def augment(self, augment: Augment, mean: tuple[float, ...]) -> Augment:
        """The augmentation of every image shown to the classifier, clean or poisoned, given the one before and the mean pixel."""
        del mean
        return augment

    def objective(self, objective: Objective, epoch: int, epochs: int) -> Objective:
        """What a step of the epoch (from 0) out of `epochs` minimises, given what it would minimise otherwise."""
        del epoch, epochs
        return objective


@final
class PlainRun(DefenseRun):
    """A training on clean images."""

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The objective on augmented images."""
        shown = self.setting.augment(images)
        prediction = prediction_of(self.setting.model(shown))
        right = prediction.logits.argmax(1) == labels
        return self.setting.objective(epoch).of(prediction, shown, labels), {"accuracy_in_batch": right.float().mean()}
