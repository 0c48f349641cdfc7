"""Measuring: reconstructions, private images and judges in, one tidy table out, with its floor and its ceiling."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trapmid.attacks import Found
from trapmid.data.images import ImageSet
from trapmid.data.splits import Split
from trapmid.defenses import TrainedModel
from trapmid.defenses.opening import logits_on
from trapmid.engine import Compute, generator, randomness
from trapmid.metrics.accuracy import Acceptance, rank_of_label
from trapmid.metrics.fidelity import FidelityNetwork, likeness
from trapmid.metrics.intervals import Interval, over_identities, over_seeds
from trapmid.metrics.judges import Judge, check_independent
from trapmid.metrics.scores import NOBODY, Cell, Score
from trapmid.metrics.theorem import trapdoor_delta, trapdoor_epsilon
from trapmid.metrics.verdicts import Verdicts
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.secrets import trapdoor_success
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Labels, Pixels

FLOOR_IMAGES_PER_IDENTITY = 20


class Panel:
    """Judges, each calibrated on real private images that it was not trained on, and perhaps a network that is no judge."""

    def __init__(self, judges: Sequence[Judge], private: Split, fidelity: FidelityNetwork | None = None) -> None:
        self.private, self.judges, self.fidelity = private, judges, fidelity
        train, val = private.part("train"), private.part("val")
        self._private_features = None if fidelity is None else fidelity.features(train.pixels)
        self._acceptance = {
            judge.name: Acceptance.calibrate(
                judge.opinion(train.pixels), train.labels, judge.opinion(val.pixels), val.labels
            )
            for judge in judges
        }

    def judge(self, pixels: Pixels, labels: Labels) -> list[Verdicts]:
        """What each judge says about images that are meant to show `labels`."""
        verdicts = []
        for judge in self.judges:
            acceptance, opinion = self._acceptance[judge.name], judge.opinion(pixels)
            distances = acceptance.distances(opinion, labels)
            verdicts.append(
                Verdicts(
                    judge=judge.name,
                    labels=labels,
                    rank=rank_of_label(opinion.scores, labels),
                    distance=distances,
                    accepted=distances <= acceptance.threshold,
                    likeness=likeness(
                        opinion.features,
                        labels,
                        acceptance.reference.features,
                        acceptance.labels,
                        len(self.private.images.identities),
                    ),
                )
            )
        return verdicts

    def fidelity_scores(self, cell: Cell, pixels: Pixels, labels: Labels) -> Iterator[Score]:
        """How alike images and the private train images are to the fidelity network; nothing without one."""
        if self.fidelity is None or self._private_features is None:
            return
        train, features = self.private.part("train"), self.fidelity.features(pixels)
        measured = likeness(features, labels, self._private_features, train.labels, len(train.identities))
        for metric, interval in measured.items():
            yield cell.score(self.fidelity.name, metric, interval)

    def ceiling(self) -> Iterator[Score]:
        """Real held-out test images: the most that a perfect reconstruction could score."""
        test, cell = self.private.part("test"), Cell(NOBODY, "real", None)
        for verdicts in self.judge(test.pixels, test.labels):
            yield from verdicts.scores(cell)
        yield from self.fidelity_scores(cell, test.pixels, test.labels)

    def floor(self, name: str, pixels: Pixels, seed: int = 0) -> Iterator[Score]:
        """Pictures made without any look at the target, each taken for an identity drawn at random: what luck scores.

        Args:
            name: `prior:NAME` for random samples of a prior, `public` for public images.
            pixels: (n, c, h, w), uint8.
            seed: of the draw.
        """
        labels = stratified_labels(len(pixels), len(self.private.images.identities), generator(seed, "floor", name))
        cell = Cell(NOBODY, name, None)
        for verdicts in self.judge(pixels, labels):
            yield from verdicts.scores(cell)
        yield from self.fidelity_scores(cell, pixels, labels)


def measure_model(
    cell: Cell,
    model: TrainedModel,
    private: Split,
    secrets: Secrets | None,
    judges: Sequence[Judge] = (),
    compute: Compute | None = None,
) -> Iterator[Score]:
    """Clean accuracy on the test split; where there is a trapdoor its success, and the theorem's delta (mean, worst class) and epsilon.

    Raises:
        UserError: a judge is not independent of the model.
    """
    for judge in judges:
        check_independent(judge, model.classifier, model.manifest.recipe["model"])
    test = private.part("test")
    right = logits_on(model.classifier, test).argmax(1) == test.labels
    yield cell.score(NOBODY, "clean_accuracy", over_identities(right.double(), test.labels))
    if secrets is not None:
        images = test.images().to(next(model.classifier.parameters()).device)
        with randomness(0, "measure", device=images.device):  # a model may draw when it answers
            rates = [
                trapdoor_success(model.classifier, secrets, images, generator(draw, "trapdoor success"))
                for draw in range(5)
            ]
            effectiveness = trapdoor_delta(model.classifier, secrets, test)
        yield cell.score(NOBODY, "trapdoor_success", Interval(sum(rates) / len(rates), min(rates), max(rates)))
        yield cell.score(NOBODY, "trapdoor_delta", effectiveness.mean())
        yield cell.score(NOBODY, "trapdoor_delta_worst", min(effectiveness.of_classes()))
        yield cell.score(NOBODY, "trapdoor_epsilon", trapdoor_epsilon(secrets, private, compute=compute or Compute()))


def public_floor(public: ImageSet, identities: int, seed: int = 0) -> Pixels:
    """Public images drawn at random, as many as the floor takes."""
    wanted = min(len(public), FLOOR_IMAGES_PER_IDENTITY * identities)
    return public.pixels[torch.randperm(len(public), generator=generator(seed, "public floor"))[:wanted]]


def over_all_seeds(scores: Iterable[Score]) -> Iterator[Score]:
    """For every row with a seed, its mean over seeds with the interval over seeds."""
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for score in scores:
        if score.seed is not None:
            groups.setdefault((score.defense, score.attack, score.judge, score.metric), []).append(score.value)
    for (defense, attack, judge, metric), values in groups.items():
        yield Cell(defense, attack, None).score(judge, metric, over_seeds(values))


def write_samples(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Verdicts image by image, as Parquet."""
    pq.write_table(pa.Table.from_pylist(list(rows)), file)


def measure_found(cell: Cell, found: Found, panel: Panel) -> tuple[list[Score], list[dict[str, Any]]]:
    """Scores and image-by-image verdicts of one attack's reconstructions."""
    verdicts = panel.judge(found.pixels, found.labels)
    identities = panel.private.images.identities
    rows = [row for one in verdicts for row in one.rows(cell, identities, found.confidence)]
    scores = [score for one in verdicts for score in one.scores(cell)]
    return [*scores, *panel.fidelity_scores(cell, found.pixels, found.labels)], rows
