"""The table of all metrics: those of the package, those of installed packages, and those that were registered.

A package adds a metric with an entry point whose name is the metric's:

    [project.entry-points."trapmid.metrics"]
    sharpness = "my_package.sharpness:SHARPNESS"
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points

from trapmid.metrics import detecting, of_attacks, of_models, recognition, sets
from trapmid.metrics.metric import AnyMetric, Evidence, Metric
from trapmid.metrics.scores import Score
from trapmid.metrics.units import Unit
from trapmid.types import UserError

METRICS: tuple[AnyMetric, ...] = (
    *of_models.BEFORE_IMAGES,
    *recognition.METRICS,
    *sets.METRICS,
    *of_attacks.METRICS,
    *of_models.AFTER_IMAGES,
    *detecting.METRICS,
)
"""Every metric that comes with the package, in the order of tables."""

GROUP = "trapmid.metrics"
"""The group of entry points that add metrics."""

_registered: dict[str, AnyMetric] = {}


def metrics() -> tuple[AnyMetric, ...]:
    """Every metric: those of the package, of installed packages, and those that were registered, in this order."""
    return (*METRICS, *_installed(), *_registered.values())


@cache
def _installed() -> tuple[AnyMetric, ...]:
    """The metrics of installed packages, by name.

    Raises:
        UserError: one cannot be loaded, is no metric, or has another name than its entry point or the name of a
            metric of trapmid.
    """
    found: list[AnyMetric] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.name if entry.dist is None else f"{entry.name} of the installed package {entry.dist.name}"
        try:
            metric = entry.load()
        except Exception as problem:  # whatever another package does when it is imported
            raise UserError(
                f"The metric {package} cannot be loaded: {type(problem).__name__}: {problem}. Repair or uninstall "
                "that package."
            ) from problem
        if not isinstance(metric, Metric) or metric.name != entry.name:
            raise UserError(
                f"The entry point {package} in the group {GROUP} names {metric!r}. Expected a Metric with the name "
                f"{entry.name!r}."
            )
        if any(own.names(metric.name) for own in METRICS):
            raise UserError(
                f"The metric {package} has the name of a metric of trapmid. Rename it or uninstall that package."
            )
        found.append(metric)
    return tuple(found)


def registered() -> tuple[AnyMetric, ...]:
    """The metrics that were registered in this process."""
    return tuple(_registered.values())


def registered_for_workers() -> tuple[AnyMetric, ...]:
    """The metrics that were registered in this process, to be registered in a worker process.

    Raises:
        UserError: one of them cannot be sent to another process.
    """
    for metric in registered():
        try:
            pickle.dumps(metric)
        except (pickle.PicklingError, AttributeError, TypeError) as problem:
            raise UserError(
                f"The metric {metric.name!r} cannot be sent to worker processes ({problem}). Define its `compute` as "
                "a function of a "
                "module, or measure in one process (--jobs 1)."
            ) from problem
    return registered()


def register(metric: AnyMetric) -> AnyMetric:
    """Have a metric measured, printed and reported as those of the package are.

    The same metric may be registered again.

    Raises:
        UserError: another metric has its name.
    """
    for other in metrics():
        if other.names(metric.name) and other != metric:
            raise UserError(f"There is a metric {other.name!r} already ({other.title}). Give yours another name.")
    _registered[metric.name] = metric
    return metric


def of_name(name: str) -> AnyMetric | None:
    """The metric of a score; None if it is not known in this process."""
    return next((metric for metric in metrics() if metric.names(name)), None)


def unit_of(name: str) -> Unit:
    """The unit of a score's values; of an unknown metric, a number."""
    metric = of_name(name)
    return Unit.NUMBER if metric is None else metric.unit


def title_of(name: str) -> str:
    """The title of a score's metric; of an unknown metric, its name."""
    metric = of_name(name)
    return name if metric is None else metric.title


def measure(*evidence: Evidence, only: Sequence[AnyMetric] | None = None) -> Iterator[Score]:
    """The scores of everything that can be measured of some evidence, metric after metric.

    Args:
        evidence: in the order of the scores.
        only: these metrics; default: all.
    """
    for metric in metrics() if only is None else only:
        for one in evidence:
            if type(one) is metric.of:
                yield from metric.measure(one)


def versions_of(kinds: Sequence[type[Evidence]]) -> Mapping[str, int]:
    """The version of every metric that is computed from these kinds of evidence, by name."""
    return {metric.name: metric.version for metric in metrics() if metric.of in kinds}
