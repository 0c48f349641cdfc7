"""The contract of a metric: what it says about itself, and how it computes its scores from evidence."""

import re
from abc import ABC
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeAlias, TypeVar, final

from trapmid.metrics.intervals import Interval
from trapmid.metrics.scores import NOT_APPLICABLE, Score, ScoreKey
from trapmid.metrics.units import Unit

Subject: TypeAlias = Literal["model", "attack", "prior", "trapdoor"]
Better: TypeAlias = Literal["higher", "lower", "neither"]
TableName: TypeAlias = Literal["console", "main", "further", "price", "detection", "controls"]


@dataclass(frozen=True, eq=False)
class Evidence(ABC):
    """What metrics of one kind are computed from. Whatever costs time is computed when it is first asked for, and once.

    Attributes:
        subject: what the evidence is about.
        key: the columns of a score that say which run it is of.
    """

    subject: ClassVar[Subject]
    key: ScoreKey


E = TypeVar("E", bound=Evidence)


class Measured(NamedTuple):
    """One value of a metric.

    Attributes:
        interval: the value with its 95 % interval.
        judge: the judge or feature network that it depends on.
        attack: the attack column of its score, where that is not the evidence's.
        variant: what follows the metric's name in the score, for metrics that have variants.
    """

    interval: Interval
    judge: str = NOT_APPLICABLE
    attack: str | None = None
    variant: str = ""


@final
@dataclass(frozen=True)
class Metric(Generic[E]):
    """One metric. `trapmid.metrics.METRICS` has all that come with the package, `register` adds others.

    Attributes:
        name: in the column `metric` of scores.json.
        title: in tables and figures.
        unit: of its values.
        better: whether higher or lower values are better for the owner of the model.
        of: the evidence that it is computed from, which also says what it is of: a model, an attack, a prior or a
            trapdoor.
        compute: yields its values from that evidence; nothing where it cannot be known.
        about: what it measures, in a sentence.
        paper: where it comes from.
        version: raise it when the same evidence gives other values. A finished measurement is then computed anew for
            this metric alone.
        hint: a few words below the title in a table's head; by default, which way is better.
        tables: where it is shown beside the list of every score: in the console's table, in the report's main table,
            further measures, price of a defense, or detection.
        variants: a regular expression for what may follow the name in scores.json; empty for metrics without
            variants. The first group of a match fills the `{}` of the hint.
    """

    name: str
    title: str
    unit: Unit
    better: Better
    of: type[E]
    compute: Callable[[E], Iterable[Measured]]
    about: str
    paper: str = ""
    version: int = 1
    hint: str = ""
    tables: tuple[TableName, ...] = ("console", "main")
    variants: str = ""

    @property
    def subject(self) -> Subject:
        """What it is of."""
        return self.of.subject

    def measure(self, evidence: E) -> Iterator[Score]:
        """The scores of this metric."""
        for interval, judge, attack, variant in self.compute(evidence):
            key = evidence.key if attack is None else evidence.key._replace(attack=attack)
            yield key.score(judge, f"{self.name}{variant}", interval)

    def names(self, name: str) -> bool:
        """Whether a score of that name is this metric's, or one of its variants'."""
        return re.fullmatch(re.escape(self.name) + (f"(?:{self.variants})" if self.variants else ""), name) is not None

    def hint_of(self, name: str) -> str:
        """The hint for a score of that name."""
        variant = re.fullmatch(self.variants, name.removeprefix(self.name)) if self.variants else None
        hint = self.hint or ("" if self.better == "neither" else f"{self.better} is better")
        return hint.format(*variant.groups()) if variant else hint


AnyMetric: TypeAlias = Metric[Any]
