"""What an experiment of the paper is: rows of cells and columns of metrics, said once for every scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from trapmid.metrics.evidence import ComparedSet
from trapmid.metrics.metric import AnyMetric
from trapmid.metrics.recognition import KNN_DISTANCE
from trapmid.metrics.scores import NOT_APPLICABLE
from trapmid.metrics.table import of_name, registered

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
class ExperimentRow:
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
    attack: str = NOT_APPLICABLE
    target: Target = MAIN
    runs: Runs = "mean"


class Column(NamedTuple):
    """A metric as a column of a table.

    Attributes:
        metric: what is printed.
        title: with the symbol of the unit.
        judge: the one that has to decide; None for the recipe's first.
    """

    metric: AnyMetric
    title: str
    judge: str | None = None

    @property
    def of_model(self) -> bool:
        """Whether it belongs to the model alone, whatever attacks it."""
        return self.metric.subject == "model"

    @property
    def of_sets(self) -> bool:
        """Whether it compares sets of images, which a feature network does where the recipe has one."""
        return self.metric.of is ComparedSet


DELTA_FACE, DELTA_EVAL = "delta_face", "delta_eval"
BY_JUDGE: Mapping[str, Column] = {
    DELTA_FACE: Column(KNN_DISTANCE, "delta face", "embedder"),
    DELTA_EVAL: Column(KNN_DISTANCE, "delta eval", "classifier"),
}
"""Columns that the papers name after the judge that decides."""


def column(key: str) -> Column:
    """The column of a key: one of `BY_JUDGE`, or the name of a metric.

    Raises:
        KeyError: there is no such metric.
    """
    if key in BY_JUDGE:
        return BY_JUDGE[key]
    metric = of_name(key)
    if metric is None:
        raise KeyError(key)
    return Column(metric, f"{metric.title} {metric.unit.symbol}".strip())


@dataclass(frozen=True)
class Bars:
    """A chart that compares lines one by one.

    Attributes:
        metrics: a panel each, keys of columns.
    """

    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """A chart along a quantity that grows from line to line.

    Attributes:
        metrics: a panel each, keys of columns.
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
        columns: keys of columns.
        several: whether the paper has five runs of it, else one.
        also: experiments whose published numbers for the same row and attack hold here, too.
        notes: what differs from the paper at every scale, a line each.
        pictures: identities to show reconstructions of; 0 for none.
        chart: what is drawn of the numbers; None for nothing.
    """

    name: str
    title: str
    shows: str
    rows: tuple[ExperimentRow, ...]
    columns: tuple[str, ...]
    several: bool = False
    also: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: int = 0
    chart: Bars | Curve | None = None

    @property
    def all_columns(self) -> tuple[str, ...]:
        """The columns of the paper, and those of metrics that others registered."""
        others = [metric.name for metric in registered() if metric.subject in ("model", "attack")]
        return (*self.columns, *others)

    def keeping(self, attacks: Sequence[str]) -> "Experiment":
        """The same with the rows of these attacks alone, and of models alone; all where none is named."""
        if not attacks:
            return self
        return replace(self, rows=tuple(row for row in self.rows if row.attack in (*attacks, NOT_APPLICABLE)))


def grid(defenses: Mapping[str, str], attacks: Sequence[str], target: Target = MAIN) -> tuple[ExperimentRow, ...]:
    """Every defense, titles by key, under every attack."""
    return tuple(
        ExperimentRow(key, title, key, attack, target) for key, title in defenses.items() for attack in attacks
    )
