"""Measuring: reconstructions, private images and judges in, one tidy table out, with its floor and its ceiling."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from trapmid.attacks import Found
from trapmid.data.images import ImageSet
from trapmid.data.splits import Split
from trapmid.defenses import TrainedModel
from trapmid.defenses.opening import logits_on
from trapmid.engine import Compute, generator, randomness
from trapmid.metrics.accuracy import Acceptance, rank_of_label
from trapmid.metrics.fidelity import FidelityNetwork, frechet_distance, kernel_distance
from trapmid.metrics.intervals import Interval, over_identities, over_seeds
from trapmid.metrics.judges import Judge, check_independent
from trapmid.metrics.scores import Score
from trapmid.metrics.theorem import trapdoor_delta, trapdoor_epsilon
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.secrets import trapdoor_success
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Labels, Pixels

FLOOR_IMAGES_PER_IDENTITY = 20
NOBODY = "-"


@dataclass(frozen=True)
class Cell:
    """What a row is about: how the model was trained, how it was attacked, with which seed."""

    defense: str
    attack: str
    seed: int | None


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One judge's answers about one set of images, an entry each.

    Attributes:
        rank: how many identities it finds more alike than the right one.
        distance: squared feature distance to the right identity's nearest private train image.
        accepted: whether that is as near as real images are.
        fid: of the whole set against the private train images.
    """

    judge: str
    labels: Labels
    rank: Tensor
    distance: Tensor
    accepted: Tensor
    fid: float

    def scores(self, cell: Cell) -> Iterator[Score]:
        """The set in numbers, with intervals over identities."""
        measured = {
            "attack_accuracy_1": self.rank < 1,
            "attack_accuracy_5": self.rank < 5,
            "attack_accuracy_1_accepted": (self.rank < 1) & self.accepted,
            "knn_distance": self.distance,
        }
        for metric, values in measured.items():
            yield _score(cell, self.judge, metric, over_identities(values.double(), self.labels))
        yield _score(cell, self.judge, "fid", Interval(self.fid, float("nan"), float("nan")))

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
                    fid=frechet_distance(opinion.features, acceptance.reference.features),
                )
            )
        return verdicts

    def likeness(self, cell: Cell, pixels: Pixels) -> Iterator[Score]:
        """FID and KID of images against the private train images by the fidelity network; nothing without one."""
        if self.fidelity is None or self._private_features is None:
            return
        features = self.fidelity.features(pixels)
        for metric, measure in (("fid", frechet_distance), ("kid", kernel_distance)):
            value = measure(features, self._private_features)
            yield _score(cell, self.fidelity.name, metric, Interval(value, float("nan"), float("nan")))

    def ceiling(self) -> Iterator[Score]:
        """Real held-out test images: the most that a perfect reconstruction could score."""
        test, cell = self.private.part("test"), Cell(NOBODY, "real", None)
        for verdicts in self.judge(test.pixels, test.labels):
            yield from verdicts.scores(cell)
        yield from self.likeness(cell, test.pixels)

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
        yield from self.likeness(cell, pixels)


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
    yield _score(cell, NOBODY, "clean_accuracy", over_identities(right.double(), test.labels))
    if secrets is not None:
        images = test.images().to(next(model.classifier.parameters()).device)
        with randomness(0, "measure", device=images.device):  # a model may draw when it answers
            rates = [
                trapdoor_success(model.classifier, secrets, images, generator(draw, "trapdoor success"))
                for draw in range(5)
            ]
            effectiveness = trapdoor_delta(model.classifier, secrets, test)
        yield _score(cell, NOBODY, "trapdoor_success", Interval(sum(rates) / len(rates), min(rates), max(rates)))
        yield _score(cell, NOBODY, "trapdoor_delta", effectiveness.mean())
        yield _score(cell, NOBODY, "trapdoor_delta_worst", min(effectiveness.of_classes()))
        yield _score(cell, NOBODY, "trapdoor_epsilon", trapdoor_epsilon(secrets, private, compute=compute or Compute()))


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
        yield _score(Cell(defense, attack, None), judge, metric, over_seeds(values))


def write_samples(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Verdicts image by image, as Parquet."""
    pq.write_table(pa.Table.from_pylist(list(rows)), file)


def measure_found(cell: Cell, found: Found, panel: Panel) -> tuple[list[Score], list[dict[str, Any]]]:
    """Scores and image-by-image verdicts of one attack's reconstructions."""
    verdicts = panel.judge(found.pixels, found.labels)
    identities = panel.private.images.identities
    rows = [row for one in verdicts for row in one.rows(cell, identities, found.confidence)]
    return [score for one in verdicts for score in one.scores(cell)] + list(panel.likeness(cell, found.pixels)), rows


def _score(cell: Cell, judge: str, metric: str, interval: Interval) -> Score:
    return Score(
        defense=cell.defense,
        attack=cell.attack,
        seed=cell.seed,
        judge=judge,
        metric=metric,
        value=interval.value,
        low=interval.low,
        high=interval.high,
    )
