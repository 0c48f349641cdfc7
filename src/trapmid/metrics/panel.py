"""The panel: judges and what they are calibrated on, asked about reconstructions, real images, floors and negative controls."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trapmid.data.images import to_pixels
from trapmid.data.splits import Split
from trapmid.engine import generator
from trapmid.metrics.accuracy import Acceptance, rank_of_label
from trapmid.metrics.controls import disagreement, named_first, triggers_alone
from trapmid.metrics.distance import nearer_to_private
from trapmid.metrics.fidelity import FidelityNetwork, likeness
from trapmid.metrics.intervals import over_identities
from trapmid.metrics.judges import Judge, Opinion
from trapmid.metrics.scores import NOBODY, TRIGGERS_ALONE, Cell, Score
from trapmid.metrics.verdicts import Verdicts
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Features, Labels, Pixels


class Panel:
    """Judges, each calibrated on real private images that it was not trained on, and perhaps a network that is no judge.

    Args:
        judges: who decides.
        private: the private images and their split.
        fidelity: the network that recognises nobody.
        public: images of other people, (n, c, h, w), uint8, in random order: whom judges should not take for anybody, and what
            private images are compared with.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        private: Split,
        fidelity: FidelityNetwork | None = None,
        public: Pixels | None = None,
    ) -> None:
        self.private, self.judges, self.fidelity, self.public = private, judges, fidelity, public
        self.num_classes = len(private.images.identities)
        train, val = private.part("train"), private.part("val")
        self._private_features = None if fidelity is None else fidelity.features(train.pixels)
        self._acceptance = {
            judge.name: Acceptance.calibrate(
                judge.opinion(train.pixels), train.labels, judge.opinion(val.pixels), val.labels
            )
            for judge in judges
        }
        self._of_strangers = {} if public is None else {judge.name: judge.opinion(public) for judge in judges}

    def judge(self, pixels: Pixels, labels: Labels) -> list[Verdicts]:
        """What each judge says about images that are meant to show `labels`."""
        return [self._verdicts(judge.name, judge.opinion(pixels), labels) for judge in self.judges]

    def scores(self, cell: Cell, verdicts: Sequence[Verdicts], pixels: Pixels, labels: Labels) -> Iterator[Score]:
        """All numbers about a set of images: each judge's, how often they disagree, the fidelity network's."""
        for one in verdicts:
            yield from one.scores(cell)
        if len(verdicts) > 1:
            apart = disagreement([one.rank < 1 for one in verdicts])
            yield cell.score(NOBODY, "judge_disagreement", over_identities(apart.double(), labels))
        if self.fidelity is not None and self._private_features is not None:
            train, features = self.private.part("train"), self.fidelity.features(pixels)
            measured = likeness(features, labels, self._private_features, train.labels, self.num_classes)
            for metric, interval in measured.items():
                yield cell.score(self.fidelity.name, metric, interval)

    def private_nearest(self, pixels: Pixels) -> dict[str, Tensor]:
        """Of each judge, whether a private image is nearer to each picture (n,) than every public one; of none without public images."""
        nearer = {
            judge.name: self._private_nearest(judge.name, judge.opinion(pixels).features) for judge in self.judges
        }
        return {name: each for name, each in nearer.items() if each is not None}

    def ceiling(self) -> Iterator[Score]:
        """Real held-out test images: the most that a perfect reconstruction could score."""
        test = self.private.part("test")
        verdicts = self.judge(test.pixels, test.labels)
        yield from self.scores(Cell(NOBODY, "real", None), verdicts, test.pixels, test.labels)

    def floor(self, name: str, pixels: Pixels, seed: int = 0) -> Iterator[Score]:
        """Pictures made without any look at the target, each taken for an identity drawn at random: what luck scores.

        Args:
            name: `prior:NAME` for random samples of a prior.
            pixels: (n, c, h, w), uint8.
            seed: of the draw.
        """
        labels = self._anybody(name, len(pixels), seed)
        yield from self.scores(Cell(NOBODY, name, None), self.judge(pixels, labels), pixels, labels)

    def public_floor(self, seed: int = 0) -> Iterator[Score]:
        """The same of the public images, and each judge's `false_positive_rate`: the share of them that it accepts as whom it names."""
        if self.public is None:
            return
        cell, labels = Cell(NOBODY, "public", None), self._anybody("public", len(self.public), seed)
        verdicts = [
            replace(self._verdicts(name, opinion, labels), private_nearest=None)  # they are what is compared with
            for name, opinion in self._of_strangers.items()
        ]
        yield from self.scores(cell, verdicts, self.public, labels)
        for name, opinion in self._of_strangers.items():
            accepted = self._acceptance[name].accepts(opinion, opinion.scores.argmax(1))
            each = over_identities(accepted.double(), torch.arange(len(accepted)))
            yield cell.score(name, "false_positive_rate", each)

    def triggers_alone(self, defense: str, seed: int | None, secrets: Secrets) -> Iterator[Score]:
        """A trapdoor's triggers in the mean private train image, each taken for its class: whom does a trigger look like?

        A judge that names the class is fooled by what fools the target, and takes a trap for a person.
        """
        pixels = self.private.part("train").pixels
        mean = (pixels.sum(0, dtype=torch.float64) / (255 * len(pixels))).float()
        shown, labels = to_pixels(triggers_alone(secrets, mean)), torch.arange(self.num_classes)
        for one in self.judge(shown, labels):
            yield from replace(one, private_nearest=None, likeness={}).scores(Cell(defense, TRIGGERS_ALONE, seed))

    def _anybody(self, name: str, n: int, seed: int) -> Labels:
        return stratified_labels(n, self.num_classes, generator(seed, "floor", name))

    def _verdicts(self, judge: str, opinion: Opinion, labels: Labels) -> Verdicts:
        acceptance = self._acceptance[judge]
        distances, reference = acceptance.distances(opinion, labels), acceptance.reference.features
        return Verdicts(
            judge=judge,
            labels=labels,
            named=named_first(opinion.scores),
            rank=rank_of_label(opinion.scores, labels),
            distance=distances,
            accepted=distances <= acceptance.threshold,
            private_nearest=self._private_nearest(judge, opinion.features),
            likeness=likeness(opinion.features, labels, reference, acceptance.labels, self.num_classes),
        )

    def _private_nearest(self, judge: str, features: Features) -> Tensor | None:
        """By sets of one size: all of the smaller one, as many at random of the larger one."""
        if self.public is None:
            return None
        private, public = self._acceptance[judge].reference.features, self._of_strangers[judge].features
        n = min(len(private), len(public))
        chosen = torch.randperm(len(private), generator=generator(0, "private or public"))[:n]
        return nearer_to_private(features, private[chosen], public[:n])
