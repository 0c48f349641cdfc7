"""A part of a measurement: evidence that is opened when a metric needs it, and earlier scores that are still valid."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trapmid.metrics.metric import Evidence
from trapmid.metrics.scores import Score
from trapmid.metrics.table import measure, metrics


@dataclass(frozen=True, eq=False)
class Group:
    """Evidence that is opened together.

    Attributes:
        kinds: of the evidence.
        open: opens all of it.
    """

    kinds: tuple[type[Evidence], ...]
    open: Callable[[], Sequence[Evidence]]


@dataclass(frozen=True, eq=False)
class Part:
    """What is measured together. Nothing of it is opened before a metric or the rows need it.

    Attributes:
        groups: the evidence; no kind is in two of them.
        rows: what there is to say image by image.
    """

    groups: tuple[Group, ...] = ()
    rows: Callable[[], Iterable[dict[str, Any]]] = tuple

    @property
    def kinds(self) -> tuple[type[Evidence], ...]:
        """Of all evidence."""
        return tuple(kind for group in self.groups for kind in group.kinds)

    def scores(self, kept: Mapping[str, list[Score]]) -> Iterator[Score]:
        """The scores of every metric: those that are kept, and the others computed."""
        for group in self.groups:
            wanted = [metric for metric in metrics() if metric.of in group.kinds]
            opened = group.open() if any(metric.name not in kept for metric in wanted) else ()
            for metric in wanted:
                yield from kept[metric.name] if metric.name in kept else measure(*opened, only=(metric,))


@dataclass(frozen=True, eq=False)
class Kept:
    """What an earlier measurement of the same part says that still holds.

    Attributes:
        scores: by the name of each metric whose version has not changed.
        rows: image by image; None where there are none to keep.
    """

    scores: Mapping[str, list[Score]] = field(default_factory=dict)
    rows: list[dict[str, Any]] | None = None
