"""Smoothed cross-entropy, positive (Szegedy et al., CVPR 2016) and negative (Struppek et al., ICLR 2024)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Literal, final

from torch import Tensor

from trapmid.defenses.changes import Changes
from trapmid.defenses.defense import Defense
from trapmid.objective import Criteria
from trapmid.types import Labels, Logits


def smoothed_cross_entropy(logits: Logits, labels: Labels, smoothing: float) -> Tensor:
    """(1 - a) NLL(y) + a mean_c(-log p_c), mean over the batch, for a = `smoothing` of any sign (Trap-MID, App. C.6).

    For a positive a this is `torch.nn.functional.cross_entropy` with `label_smoothing`, which refuses a negative one.
    """
    log_p = logits.log_softmax(1)
    own = -log_p.gather(1, labels[:, None]).squeeze(1)
    return ((1 - smoothing) * own - smoothing * log_p.mean(1)).mean()


class Smoothing(Defense, ABC):
    """A defense that smooths the labels.

    Attributes:
        images: whose labels are smoothed in a training with poisoned images: those of `all` images, which is the
            default of the authors' code for Trap-MID with NegLS, or of `clean` images alone, which the authors' code
            offers as well.
    """

    images: Literal["all", "clean"] = "all"

    @abstractmethod
    def smoothing_at(self, epoch: int, epochs: int) -> float:
        """The amount of smoothing in an epoch, counted from 0, out of `epochs`."""

    @final
    def changes(self) -> Changes:
        """Another criterion."""
        return Changes(criterion=self.criteria)

    def criteria(self, epoch: int, epochs: int) -> Criteria:
        """Smoothed cross-entropy, for clean images alone or for all."""
        smoothed: Callable[[Tensor, Tensor], Tensor] = partial(
            smoothed_cross_entropy, smoothing=self.smoothing_at(epoch, epochs)
        )
        return Criteria(clean=smoothed, poisoned=smoothed) if self.images == "all" else Criteria(clean=smoothed)
