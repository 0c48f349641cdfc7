"""The objective of a training step: criteria for clean and for poisoned images, and further terms of the loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from torch import Tensor
from torch.nn import functional as F

from trapmid.types import Images, Labels, Prediction

Criterion: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes logits (n, classes) and labels (n,) and returns a scalar, the mean loss of the batch."""

Term: TypeAlias = Callable[[Prediction, Tensor, Tensor], Mapping[str, Tensor]]
"""Takes a prediction, the images it belongs to and their labels, and returns weighted scalars by name."""


class Criteria(NamedTuple):
    """What a classification costs.

    Attributes:
        clean: the criterion of clean images.
        poisoned: the criterion of images with a trigger, and of the triggers themselves.
    """

    clean: Criterion = F.cross_entropy
    poisoned: Criterion = F.cross_entropy


@dataclass(frozen=True)
class Objective:
    """What a training step minimises.

    Attributes:
        clean: the criterion of clean images.
        poisoned: the criterion of images with a trigger, and of the triggers themselves.
        terms: added for the clean images. Their weight does not depend on the weight of the classification.
    """

    clean: Criterion = F.cross_entropy
    poisoned: Criterion = F.cross_entropy
    terms: tuple[Term, ...] = ()

    def with_term(self, term: Term) -> "Objective":
        """The same objective with one more term."""
        return replace(self, terms=(*self.terms, term))

    def of(self, prediction: Prediction, images: Images, labels: Labels, weight: float = 1.0) -> dict[str, Tensor]:
        """The losses of clean images by name. The loss of the classification, times `weight`, is called `clean`."""
        losses = {"clean": weight * self.clean(prediction.logits, labels)}
        for term in self.terms:
            losses |= term(prediction, images, labels)
        return losses


CROSS_ENTROPY = Objective()
"""Cross-entropy and no further terms."""
