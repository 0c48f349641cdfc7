"""The table of all metrics: those of the package and those that others register."""

import pickle
from collections.abc import Iterator, Mapping, Sequence

from trapmid.metrics import detecting, of_attacks, of_models, recognition, sets
from trapmid.metrics.metric import AnyMetric, Evidence
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

_registered: dict[str, AnyMetric] = {}


def metrics() -> tuple[AnyMetric, ...]:
    """Every metric: those of the package, then those that were registered."""
    return (*METRICS, *_registered.values())


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
                f"The metric {metric.name!r} cannot be sent to worker processes ({problem}). Define its `compute` as a function of a "
                "module, or measure in one process (--jobs 1)."
            ) from problem
    return registered()


def register(metric: AnyMetric) -> AnyMetric:
    """Have a metric measured, printed and reported as those of the package are. The same metric may be registered again.

    Raises:
        UserError: another metric has its name.
    """
    for other in metrics():
        if other.names(metric.name) and other != metric:
            raise UserError(f"There is a metric {other.name!r} already ({other.title}). Give yours another name.")
    _registered[metric.name] = metric
    return metric


def of_name(name: str) -> AnyMetric | None:
    """The metric of a score; None for scores of a metric that is not known here, such as one that somebody registered elsewhere."""
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
    """The version of every metric that is computed from these kinds of evidence, by name: what decides its values beside the evidence."""
    return {metric.name: metric.version for metric in metrics() if metric.of in kinds}
