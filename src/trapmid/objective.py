"""The objective: what the classification of clean and of poisoned images costs, and what else a batch is charged for.

Small pure pieces that compose: a criterion says what a classification costs, a term adds to it from the prediction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional as F

from trapmid.types import Images, Labels, Prediction

Criterion: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From logits (n, classes) and labels (n,) to a scalar, the mean over the batch."""

Term: TypeAlias = Callable[[Prediction, Tensor, Tensor], Mapping[str, Tensor]]
"""From a prediction, the images it is of and their labels to weighted scalars by name."""


@dataclass(frozen=True)
class Objective:
    """What a training step minimises.

    Attributes:
        clean: of clean images.
        poisoned: of images with a trigger, and of the triggers themselves.
        terms: added for the clean images, at full weight however the rest is weighed.
    """

    clean: Criterion = F.cross_entropy
    poisoned: Criterion = F.cross_entropy
    terms: tuple[Term, ...] = ()

    def with_term(self, term: Term) -> "Objective":
        """The same and one more term."""
        return replace(self, terms=(*self.terms, term))

    def of(self, prediction: Prediction, images: Images, labels: Labels, weight: float = 1.0) -> dict[str, Tensor]:
        """The losses of clean images by name: the classification's, times `weight`, is called `clean`."""
        losses = {"clean": weight * self.clean(prediction.logits, labels)}
        for term in self.terms:
            losses |= term(prediction, images, labels)
        return losses


CROSS_ENTROPY = Objective()
"""Plain classification."""
