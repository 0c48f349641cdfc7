"""Smoothed cross-entropy, positive (Szegedy et al. 2016) and negative (Struppek et al., ICLR 2024), and what both defenses share."""

from abc import ABC
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from trapmid.defenses.defense import Decision, Modifier
from trapmid.objective import Objective
from trapmid.types import Labels, Logits


def smoothed_cross_entropy(logits: Logits, labels: Labels, smoothing: float) -> Tensor:
    """(1 - a) NLL(y) + a mean_c(-log p_c), mean over the batch (reference 2.4), for a = `smoothing` of any sign.

    `torch.nn.functional.cross_entropy` refuses a negative `label_smoothing`; for a positive one it is the same.
    """
    log_p = logits.log_softmax(1)
    own = -log_p.gather(1, labels[:, None]).squeeze(1)
    return ((1 - smoothing) * own - smoothing * log_p.mean(1)).mean()


class Smoothing(Modifier, ABC):
    """A defense that smooths the labels.

    Attributes:
        images: which images' labels are smoothed where the training has poisoned ones: `all`, or `clean` alone. Both were
            published for Trap-MID with NegLS, and `all` is the authors' default (reference 2.4).
    """

    decides: ClassVar[frozenset[Decision]] = frozenset({"what a classification costs"})
    images: Literal["all", "clean"] = "all"

    def smooth(self, objective: Objective, smoothing: float) -> Objective:
        """`objective` with labels smoothed."""
        criterion: Callable[[Tensor, Tensor], Tensor] = partial(smoothed_cross_entropy, smoothing=smoothing)
        return replace(objective, clean=criterion, poisoned=criterion if self.images == "all" else objective.poisoned)
