"""Attack accuracy: how often a judge recognises in a reconstruction the identity it was made for."""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from trapmid.metrics.distance import nearest_of_identity
from trapmid.metrics.judge import ACCEPTED_SHARE, Opinion
from trapmid.types import Labels, Logits


def rank_of_label(scores: Logits, labels: Labels) -> Tensor:
    """(n,): how many identities score strictly higher than the label; 0 is a top-1 hit."""
    return (scores > scores.gather(1, labels[:, None])).sum(1)


@dataclass(frozen=True, eq=False)
class Acceptance:
    """A judge's answer "none of these".

    An image counts for an identity only if it lies as near to that identity's private images as real held-out images
    of the identity do. A classifier has to name an identity, even for a black square; this keeps such images
    from counting.

    Attributes:
        threshold: squared feature distance to the nearest private train image of the identity, below which 95 % of the
            private validation images lie.
        reference: the judge's opinion of the private train images.
        labels: their identities.
    """

    threshold: float
    reference: Opinion
    labels: Labels

    @staticmethod
    def calibrate(train: Opinion, train_labels: Labels, val: Opinion, val_labels: Int64[Tensor, " m"]) -> "Acceptance":
        """Take the threshold from real images that the judge was not trained on."""
        distances = nearest_of_identity(val.features, val_labels, train.features, train_labels)
        return Acceptance(float(distances.quantile(ACCEPTED_SHARE)), train, train_labels)

    def distances(self, opinion: Opinion, labels: Labels) -> Tensor:
        """(n,): squared distance of each image to the nearest private train image of its label."""
        return nearest_of_identity(opinion.features, labels, self.reference.features, self.labels)

    def accepts(self, opinion: Opinion, labels: Labels) -> Tensor:
        """(n,), bool."""
        return self.distances(opinion, labels) <= self.threshold
