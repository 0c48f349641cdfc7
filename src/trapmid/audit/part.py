"""A part of a measurement: evidence that is loaded when a metric needs it, and earlier scores that are still valid."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trapmid.metrics.metric import Evidence
from trapmid.metrics.scores import Score
from trapmid.metrics.table import measure, metrics


@dataclass(frozen=True, eq=False)
class Group:
    """Evidence that is loaded together.

    Attributes:
        kinds: the kinds of the evidence.
        open: a function that loads all of it.
    """

    kinds: tuple[type[Evidence], ...]
    open: Callable[[], Sequence[Evidence]]


@dataclass(frozen=True, eq=False)
class Part:
    """Evidence that is measured together. It is loaded only when a metric or the rows need it.

    Attributes:
        groups: the evidence. No kind is in two groups.
        rows: the results for individual images.
    """

    groups: tuple[Group, ...] = ()
    rows: Callable[[], Iterable[dict[str, Any]]] = tuple

    @property
    def kinds(self) -> tuple[type[Evidence], ...]:
        """The kinds of all evidence."""
        return tuple(kind for group in self.groups for kind in group.kinds)

    def scores(self, kept: Mapping[str, list[Score]]) -> Iterator[Score]:
        """The scores of every metric. Scores that are not in `kept` are computed."""
        for group in self.groups:
            wanted = [metric for metric in metrics() if metric.of in group.kinds]
            opened = group.open() if any(metric.name not in kept for metric in wanted) else ()
            for metric in wanted:
                yield from kept[metric.name] if metric.name in kept else measure(*opened, only=(metric,))


@dataclass(frozen=True, eq=False)
class Kept:
    """Results of an earlier measurement of the same part that are still valid.

    Attributes:
        scores: scores by the name of the metric, for metrics whose version has not changed.
        rows: the results for individual images; None if there are none to keep.
    """

    scores: Mapping[str, list[Score]] = field(default_factory=dict)
    rows: list[dict[str, Any]] | None = None
