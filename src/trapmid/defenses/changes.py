"""The changes that a defense makes to a training, as one value. They determine which defenses can be combined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from trapmid.augment import Augment
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.runs import DefenseRun, PlainRun
from trapmid.models import Classifier
from trapmid.objective import Criteria, Objective, Term
from trapmid.types import Labels

Update: TypeAlias = Callable[[Tensor], None]
"""Updates the weights by one step, given the summed loss of a batch."""

MEANING = {
    "network": "the network",
    "batches": "which images make a batch",
    "criterion": "what a classification costs",
    "run": "how the losses of a batch are computed",
    "update": "how the weights take a step",
}
"""Descriptions of the fields of `Changes` for error messages."""

EXCLUSIVE = ("batches", "criterion", "run", "update")
"""Fields that replace something: only one defense in a training can set them. The others add something."""

BEYOND_LOSS = ("network", "batches", "update")
"""Fields that a loss cannot implement, because they change the training loop itself."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The changes that a defense makes to a training.

    By default, every field is None or empty, which is an unprotected training.

    Attributes:
        network: takes a newly built network and returns the one to train. Opening a trained model calls it again before
            the weights are loaded, so it has to be a function of the defense's config.
        batches: takes the labels (n,) of the training images, the batch size and a generator, and returns the rows of
            the images of each step of one epoch: `n // batch_size` tensors of row numbers. Default: `shuffled_batches`.
        augment: takes the augmentation so far and the training, and returns the augmentation of every image that the
            classifier processes, clean or poisoned.
        criterion: takes the epoch, counted from 0, and the number of epochs, and returns the criteria of clean and of
            poisoned images. Default: cross-entropy for both.
        terms: added to the loss. They read the classifier's prediction on the clean images of a batch.
        run: takes the training and returns the object that computes the losses of its batches. Default: `PlainRun`. It
            gets the augmentation and the objective with everything that other defenses have changed.
        update: takes the training and returns a function that updates the weights with the loss of a batch. Default: a
            step of the recipe's optimizer.
        trapdoor: whether `run` plants a trapdoor, so that the training produces secrets.
    """

    network: Callable[[Classifier], Classifier] | None = None
    batches: Callable[[Labels, int, torch.Generator], Sequence[Tensor]] | None = None
    augment: Callable[[Augment, TrainingContext], Augment] | None = None
    criterion: Callable[[int, int], Criteria] | None = None
    terms: tuple[Term, ...] = ()
    run: Callable[[TrainingContext], DefenseRun] | None = None
    update: Callable[[TrainingContext], Update] | None = None
    trapdoor: bool = False

    def decided_twice(self, other: "Changes") -> list[str]:
        """Descriptions of the fields that both set, so that they cannot be combined in one training."""
        return [MEANING[name] for name in EXCLUSIVE if getattr(self, name) and getattr(other, name)]

    def beyond_loss(self) -> list[str]:
        """Descriptions of the changes that a loss cannot implement; empty if the defense works in any training loop."""
        return [MEANING[name] for name in BEYOND_LOSS if getattr(self, name)]

    def start(self, context: TrainingContext) -> DefenseRun:
        """Apply the changes to a training before it begins."""
        augment = context.augment if self.augment is None else self.augment(context.augment, context)

        def objective(epoch: int) -> Objective:
            criteria = Criteria() if self.criterion is None else self.criterion(epoch, context.epochs)
            return Objective(*criteria, self.terms)

        return (self.run or PlainRun)(replace(context, augment=augment, objective=objective))

    def updater(self, context: TrainingContext) -> Update:
        """The function that updates the weights."""
        return (self.update or plain_update)(context)


def shuffled_batches(labels: Labels, batch_size: int, rng: torch.Generator) -> Sequence[Tensor]:
    """Rows of the training images for each step of one epoch: every image once, in random order.

    An incomplete last batch is left out (Trap-MID, published code).
    """
    steps = len(labels) // batch_size
    return torch.randperm(len(labels), generator=rng)[: steps * batch_size].split(batch_size)


def plain_update(context: TrainingContext) -> Update:
    """A function that does a step of the optimizer of the context."""

    def update(loss: Tensor) -> None:
        context.optimizer.zero_grad()
        loss.backward()
        context.optimizer.step()

    return update


def joined(changes: Sequence[Changes]) -> Changes:
    """The changes of several defenses in one training, in order.

    The network is changed last by a defense that brings a `run` of its own, since that run has to be able to work with
    it. No two of them may set the same one of the fields in `EXCLUSIVE`.
    """
    of_network = [one.network for one in sorted(changes, key=lambda one: one.run is not None) if one.network]
    of_augment = [one.augment for one in changes if one.augment]

    def network(model: Classifier) -> Classifier:
        for change in of_network:
            model = change(model)
        return model

    def augment(before: Augment, context: TrainingContext) -> Augment:
        for change in of_augment:
            before = change(before, context)
        return before

    return Changes(
        network=network if of_network else None,
        batches=next((one.batches for one in changes if one.batches), None),
        augment=augment if of_augment else None,
        criterion=next((one.criterion for one in changes if one.criterion), None),
        terms=tuple(term for one in changes for term in one.terms),
        run=next((one.run for one in changes if one.run), None),
        update=next((one.update for one in changes if one.update), None),
        trapdoor=any(one.trapdoor for one in changes),
    )
