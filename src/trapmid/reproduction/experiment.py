"""Experiments of the paper as rows of cells and columns of metrics, independent of the scale."""

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
    """The probabilities, 0 to 1, of the parts of the recipe's augmentation.

    Attributes:
        crop: probability of a random crop.
        flip: probability of a horizontal flip.
        rotation: probability of a rotation.
    """

    crop: float = 0.0
    flip: float = 0.0
    rotation: float = 0.0


@dataclass(frozen=True)
class Target:
    """The model and data that are attacked, apart from the defense.

    Attributes:
        network: the architecture.
        data: the private images: CelebA faces, the high-resolution faces of PPA, MNIST digits or CIFAR-10 objects.
        public: the attacker's images, from the same data set or from another.
        augmentation: None for the augmentation of the scale.
    """

    network: Network = "main"
    data: Literal["faces", "portraits", "digits", "objects"] = "faces"
    public: Literal["same", "ffhq", "facescrub"] = "same"
    augmentation: Transforms | None = None


MAIN = Target()


@dataclass(frozen=True)
class ExperimentRow:
    """One row of a table.

    Attributes:
        key: its key among the published numbers.
        title: its title in the table.
        defense: key of the defense (`variants.DEFENSES`, or a name that `--defenses` accepts).
        attack: key of the attack; "-" if only models are compared.
        target: the model and data that are attacked.
        runs: the mean over runs, or the single run with the highest (worst) or lowest (best) AA-1.
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
        metric: the metric.
        title: its title with the symbol of its unit.
        judge: the judge that computes it; None for the first judge of the recipe.
    """

    metric: AnyMetric
    title: str
    judge: str | None = None

    @property
    def of_model(self) -> bool:
        """Whether the metric depends on the model only, not on the attack."""
        return self.metric.subject == "model"

    @property
    def of_sets(self) -> bool:
        """Whether the metric compares sets of images, in the features of the recipe's feature network if it has one."""
        return self.metric.of is ComparedSet


DELTA_FACE, DELTA_EVAL = "delta_face", "delta_eval"
BY_JUDGE: Mapping[str, Column] = {
    DELTA_FACE: Column(KNN_DISTANCE, "delta face", "embedder"),
    DELTA_EVAL: Column(KNN_DISTANCE, "delta eval", "classifier"),
}
"""Columns that papers name after the judge that computes them."""


def column(key: str) -> Column:
    """The column of a key, which is a key of `BY_JUDGE` or the name of a metric.

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
    """A bar chart with one bar per row.

    Attributes:
        metrics: keys of columns, each drawn in a panel of its own.
    """

    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """A chart of metrics against a quantity that differs from row to row.

    Attributes:
        metrics: keys of columns, each drawn in a panel of its own.
        along: the quantity, in words.
        at: its value for each row, by the key of the row.
    """

    metrics: tuple[str, ...]
    along: str
    at: Mapping[str, float]


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper.

    Attributes:
        name: its name for `trapmid reproduce`.
        title: its title in the paper.
        shows: what it shows, in a sentence.
        rows: its rows.
        columns: keys of its columns.
        several: whether the paper averages five runs; otherwise it reports one run.
        also: experiments whose published numbers for the same row and attack are valid here too.
        notes: differences from the paper at every scale, one line each.
        pictures: number of identities whose reconstructions are shown; 0 for none.
        chart: the chart of the numbers; None for no chart.
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
        """The columns of the paper, and those of metrics that other packages registered."""
        others = [metric.name for metric in registered() if metric.subject in ("model", "attack")]
        return (*self.columns, *others)

    def keeping(self, attacks: Sequence[str]) -> "Experiment":
        """This experiment with only the rows of these attacks and of models alone. No attacks means all rows."""
        if not attacks:
            return self
        return replace(self, rows=tuple(row for row in self.rows if row.attack in (*attacks, NOT_APPLICABLE)))


def grid(defenses: Mapping[str, str], attacks: Sequence[str], target: Target = MAIN) -> tuple[ExperimentRow, ...]:
    """A row for every attack on every defense. `defenses` maps keys to titles."""
    return tuple(
        ExperimentRow(key, title, key, attack, target) for key, title in defenses.items() for attack in attacks
    )
