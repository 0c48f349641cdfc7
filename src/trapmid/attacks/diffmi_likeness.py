"""Diff-MI's loss: how little a picture looks like its identity to the target."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from trapmid.attacks.search import max_margin
from trapmid.types import Features, Labels, Prediction


@final
@dataclass(frozen=True, eq=False)
class Likeness:
    """The margin over the best other classes, and the distance to features of look-alikes (p-reg).

    Attributes:
        means: (num_classes, d), the mean features of the public images that look most like each class.
        deviations: (num_classes, d), their standard deviations.
        others: number of other classes in the margin.
        feature_weight: weight of the distance.
    """

    means: Tensor
    deviations: Tensor
    others: int
    feature_weight: float

    @classmethod
    def of(cls, features: Features, rows: Tensor, others: int, feature_weight: float) -> "Likeness":
        """The loss for features (images, d) of public images, of which `rows` (num_classes, n) look like each class."""
        chosen = features[rows]
        return cls(chosen.mean(1), chosen.std(1, correction=0), others, feature_weight)

    def __call__(self, seen: Prediction, labels: Labels) -> Tensor:
        """The loss (n,). The features are compared with a random draw, normal about the mean of the class."""
        means, deviations = self.means[labels], self.deviations[labels]
        wanted = means + deviations * torch.randn_like(means)
        distance = (seen.features - wanted).square().mean(1)
        return max_margin(seen.logits, labels, self.others) + self.feature_weight * distance
