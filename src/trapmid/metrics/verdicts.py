"""What one judge says about a set of images that are meant to show somebody, and the numbers that come of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trapmid.metrics.controls import Named, corrected_accuracy, derangement
from trapmid.metrics.intervals import Interval, over_identities
from trapmid.metrics.scores import WRONG_IDENTITY, Cell, Score
from trapmid.types import Labels


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One judge's answers about one set of images, an entry each.

    `knn_distance` is squared, as published (`trapmid.metrics.distance`), `knn_distance_l2` is not. Two of the paper's extra
    measures are `knn_distance` under other names: delta_eval is that of the evaluation classifier, delta_face that of the
    face embedder. The authors' embedder is FaceNet, ours MobileFaceNet, both with features of unit length: compare values of
    delta_face within one embedder only.

    Attributes:
        judge: its name.
        labels: (n,), whom the images are meant to show.
        named: (n, num_classes), whom it names first.
        rank: how many identities it finds more alike than the right one.
        distance: squared feature distance to the right identity's nearest private train image.
        accepted: whether that is as near as real images are.
        private_nearest: whether, of private train images and as many public ones, a private one is nearest; None where no
            public ones were given.
        likeness: of the whole set to the private train images, by metric.
    """

    judge: str
    labels: Labels
    named: Named
    rank: Tensor
    distance: Tensor
    accepted: Tensor
    private_nearest: Tensor | None = None
    likeness: Mapping[str, Interval] = field(default_factory=dict)

    def scores(self, cell: Cell) -> Iterator[Score]:
        """The set in numbers, with intervals over identities where images have them."""
        others = derangement(self.named.shape[1])[self.labels]
        measured = {
            "attack_accuracy_1": self.rank < 1,
            "attack_accuracy_5": self.rank < 5,
            "attack_accuracy_1_accepted": (self.rank < 1) & self.accepted,
            WRONG_IDENTITY: self.named.gather(1, others[:, None]).squeeze(1),
            "knn_distance": self.distance,
            "knn_distance_l2": self.distance.sqrt(),
        }
        if self.private_nearest is not None:
            measured["private_nearest_share"] = self.private_nearest
        for metric, values in measured.items():
            yield cell.score(self.judge, metric, over_identities(values.double(), self.labels))
        corrected = corrected_accuracy(self.named, self.labels)
        known = torch.nonzero(~corrected.isnan()).flatten()
        if len(known):
            yield cell.score(self.judge, "attack_accuracy_1_corrected", over_identities(corrected[known], known))
        for metric, interval in self.likeness.items():
            yield cell.score(self.judge, metric, interval)

    def rows(self, cell: Cell, identities: Sequence[str], confidence: Tensor) -> Iterator[dict[str, Any]]:
        """The set image by image."""
        columns = zip(
            self.labels.tolist(),
            self.rank.tolist(),
            self.distance.tolist(),
            self.accepted.tolist(),
            confidence.tolist(),
            strict=True,
        )
        for sample, (label, rank, distance, accepted, sure) in enumerate(columns):
            yield {
                "defense": cell.defense,
                "attack": cell.attack,
                "seed": cell.seed,
                "judge": self.judge,
                "sample": sample,
                "identity": identities[label],
                "rank": rank,
                "distance": distance,
                "accepted": accepted,
                "confidence": sure,
            }
