"""What an experiment of the paper is: rows of cells and columns of metrics, said once for every scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Network = Literal["main", "facenet64", "ir152", "resnest101e", "resnet152", "densenet169"]
Runs = Literal["mean", "worst", "best"]


@dataclass(frozen=True)
class Transforms:
    """Which parts of the recipe's augmentation are on, and how often.

    Attributes:
        crop: probability.
        flip: probability.
        rotation: probability.
    """

    crop: float = 0.0
    flip: float = 0.0
    rotation: float = 0.0


@dataclass(frozen=True)
class Target:
    """What is trained and attacked, beside the defense.

    Attributes:
        network: the architecture.
        data: what is private: faces, the high-resolution ones of PPA, MNIST's digits or CIFAR-10's objects.
        public: the attacker's images: of the same data set, or of another.
        augmentation: None for the scale's own.
    """

    network: Network = "main"
    data: Literal["faces", "portraits", "digits", "objects"] = "faces"
    public: Literal["same", "ffhq", "facescrub"] = "same"
    augmentation: Transforms | None = None


MAIN = Target()


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        key: names the line among the published numbers.
        title: as it is printed.
        defense: key of the defense (`variants.DEFENSES`, or a name that `--defenses` takes).
        attack: key of the attack; "-" where models alone are compared.
        target: what is attacked.
        runs: the mean over runs, or the single run that a defender would like least or most.
    """

    key: str
    title: str
    defense: str
    attack: str = "-"
    target: Target = MAIN
    runs: Runs = "mean"


class Column(NamedTuple):
    """A metric as tables print it.

    Attributes:
        title: with its unit.
        factor: from the unit of scores.json to the paper's.
        digits: after the point.
        of_model: whether it belongs to the model alone, whoever attacks it.
        metric: its name in scores.json, where that is another than the column's.
        judge: the one that has to decide; None for the recipe's first.
    """

    title: str
    factor: float = 1.0
    digits: int = 2
    of_model: bool = False
    metric: str = ""
    judge: str | None = None


COLUMNS: Mapping[str, Column] = {
    "clean_accuracy": Column("Accuracy %", 100.0, 1, True),
    "trapdoor_success": Column("Trapdoor success %", 100.0, 1, True),
    "training_seconds": Column("Training s", digits=0, of_model=True),
    "attack_seconds": Column("Attack s", digits=0),
    "attack_accuracy_1": Column("AA-1 %", 100.0, 1),
    "attack_accuracy_5": Column("AA-5 %", 100.0, 1),
    "knn_distance": Column("KNN distance"),
    "fid": Column("FID", digits=1),
    "generator_private_nearest_share": Column("Generator nearest private %", 100.0, 1),
    "private_nearest_share": Column("Reconstructions nearest private %", 100.0, 1),
    "delta_face": Column("delta face", metric="knn_distance", judge="embedder"),
    "delta_eval": Column("delta eval", metric="knn_distance", judge="classifier"),
    "precision": Column("Precision"),
    "recall": Column("Recall"),
    "density": Column("Density"),
    "coverage": Column("Coverage"),
    "detection_recall": Column("Detected %", 100.0, 1),
    "detection_auc": Column("Detection AUC %", 100.0, 1),
    "detection_dsr": Column("DSR %", 100.0, 1),
    "start_batches": Column("Initial iterations", digits=0),
    "identities_without_start": Column("Without a start", digits=0),
}
"""Every column that a table here has, most by their metric's name in scores.json; cost and notes come from manifests."""

OF_IMAGES = frozenset({"fid", "kid", "precision", "recall", "density", "coverage"})
"""Metrics that a network which recognises nobody gives where the recipe has one."""


@dataclass(frozen=True)
class Bars:
    """A chart that compares lines one by one.

    Attributes:
        metrics: a panel each, keys of `COLUMNS`.
    """

    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """A chart along a quantity that grows from line to line.

    Attributes:
        metrics: a panel each, keys of `COLUMNS`.
        along: the quantity, in words.
        at: its value by key of the row.
    """

    metrics: tuple[str, ...]
    along: str
    at: Mapping[str, float]


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: as `trapmid reproduce` takes it.
        title: what it is in the paper.
        shows: what it is for, in a sentence.
        rows: the lines.
        columns: keys of `COLUMNS`.
        several: whether the paper has five runs of it, else one.
        also: experiments whose published numbers for the same row and attack hold here, too.
        notes: what differs from the paper at every scale, a line each.
        pictures: identities to show reconstructions of; 0 for none.
        chart: what is drawn of the numbers; None for nothing.
    """

    name: str
    title: str
    shows: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    several: bool = False
    also: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: int = 0
    chart: Bars | Curve | None = None

    def keeping(self, attacks: Sequence[str]) -> "Experiment":
        """The same with the rows of these attacks alone, and of models alone; all where none is named."""
        if not attacks:
            return self
        return replace(self, rows=tuple(row for row in self.rows if row.attack in (*attacks, "-")))


def grid(defenses: Mapping[str, str], attacks: Sequence[str], target: Target = MAIN) -> tuple[Row, ...]:
    """Every defense, titles by key, under every attack."""
    return tuple(Row(key, title, key, attack, target) for key, title in defenses.items() for attack in attacks)
