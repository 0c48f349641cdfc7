"""The settings of a training of a classifier: epochs, batches, optimizer, schedule, augmentation, kept weights."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.config import BatchSize, BelowOne, Config, Count, NonNegative, Probability, Rate

MILESTONES = (0.75, 0.9)
"""Shares of the training after which the schedule `steps` divides the learning rate by ten."""


class SGD(Config):
    """Stochastic gradient descent; the defaults are those of Trap-MID for VGG-16 (App. C.3, authors' configs)."""

    kind: Literal["sgd"] = "sgd"
    rate: Rate = 0.01
    momentum: BelowOne = 0.9
    weight_decay: NonNegative = 1e-4

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer of the module's weights."""
        return torch.optim.SGD(
            module.parameters(), lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay
        )


class AdamW(Config):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    rate: Rate = 3e-3
    weight_decay: NonNegative = 1e-4

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer of the module's weights."""
        return torch.optim.AdamW(module.parameters(), lr=self.rate, weight_decay=self.weight_decay)


class Training(Config):
    """How a classifier is trained; the defaults are those of Trap-MID for VGG-16 on CelebA (App. C.3).

    Attributes:
        epochs: number of passes over the training split.
        batch_size: number of images in a step. An incomplete last batch is left out, as in the authors' code.
        schedule: schedule of the learning rate: `constant`; `one-cycle` over the whole training; or `steps`, a tenth
            after 75 % of the steps and a hundredth after 90 %, as published for NegLS and PPA.
        flip: share of the images that are mirrored as they are read, before a defense sees them. The authors' reader
            does so under every defense. Unlike a flip in `augmentation`, it comes before triggers and discriminators.
        augmentation: used under every defense, `none` included.
        keep: which weights become the model: those of the `last` epoch, or those with the best accuracy on `val` among
            the epochs in which no schedule of the defense still runs. The authors choose on the test split; `test` does
            the same, for comparison with their numbers only.
        recalibrate: recompute batch norm statistics before every evaluation. Without it, a trapdoored model can lose
            its accuracy in eval mode for an epoch (docs/design.md).
        evaluate_every: number of epochs between two evaluations.
    """

    epochs: Count = 50
    batch_size: BatchSize = 64
    optimizer: Annotated[SGD | AdamW, Field(discriminator="kind")] = SGD()
    schedule: Literal["constant", "one-cycle", "steps"] = "constant"
    flip: Probability = 0.5
    augmentation: AnyAugmentation = KorniaAugmentation()
    keep: Literal["val", "last", "test"] = "val"
    recalibrate: bool = False
    evaluate_every: Count = 1

    def rates(
        self, optimizer: torch.optim.Optimizer, steps_per_epoch: int
    ) -> torch.optim.lr_scheduler.LRScheduler | None:
        """The schedule of an optimizer's learning rate, to be stepped once per batch; None for a constant rate."""
        if self.schedule == "constant":
            return None
        if self.schedule == "steps":
            milestones = [round(share * self.epochs * steps_per_epoch) for share in MILESTONES]
            return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.optimizer.rate, total_steps=self.epochs * steps_per_epoch
        )
