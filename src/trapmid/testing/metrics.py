"""What every metric promises: a name and a title of its own, and finite values with intervals around them."""

import math
import pickle
import re
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from trapmid.defenses import NoDefense, TrainedModel, open_model, train
from trapmid.metrics import Evidence, Metric, Model, ScoreKey, metrics
from trapmid.metrics.judges import ClassifierJudge
from trapmid.metrics.metric import AnyMetric
from trapmid.metrics.panel import Panel
from trapmid.models import ModelConfig, SmallResNet
from trapmid.testing.check import Check, expect
from trapmid.testing.people import CPU, NETWORK, private_people, public_people, quick_training


def metric_checks(metric: AnyMetric) -> list[Check]:
    """The promises that a metric has to keep.

    Its values are computed from a small classifier and from held-out and public images, if it takes such evidence.
    Evidence of finished attacks, generators and detectors takes an audit.

    Args:
        metric: an object; it need not be registered.
    """
    checks = (_describes_itself, _has_a_name_of_its_own, _reaches_worker_processes, _has_finite_values_in_intervals)
    return [Check(check.__name__.lstrip("_"), partial(check, metric)) for check in checks]


def _describes_itself(metric: AnyMetric, folder: Path) -> None:
    del folder
    expect(isinstance(metric, Metric), f"{metric!r} is not a Metric.")
    expect(re.fullmatch("[a-z][a-z0-9_]*", metric.name) is not None, f"{metric.name!r} is not a snake_case name.")
    expect(bool(metric.title), f"{metric.name} has no title: tables need one.")
    expect(metric.about.endswith("."), f"{metric.name} does not say in a sentence what it measures (`about`).")
    expect(metric.version >= 1, f"{metric.name} has version {metric.version}; versions count from 1.")


def _has_a_name_of_its_own(metric: AnyMetric, folder: Path) -> None:
    del folder
    for other in metrics():
        if other != metric:
            expect(not other.names(metric.name), f"{metric.name} is the name of another metric ({other.title}).")
            expect(other.title != metric.title, f"{metric.title!r} is the title of another metric ({other.name}).")


def _reaches_worker_processes(metric: AnyMetric, folder: Path) -> None:
    del folder
    try:
        again = pickle.loads(pickle.dumps(metric))  # noqa: S301 - its own bytes, a line above
    except (pickle.PicklingError, AttributeError, TypeError) as problem:
        raise AssertionError(
            f"{metric.name} cannot be sent to worker processes ({problem}). Make `compute` a function of a module."
        ) from problem
    expect(again == metric, f"{metric.name} is another metric in a worker process.")


def _has_finite_values_in_intervals(metric: AnyMetric, folder: Path) -> None:
    del folder
    for evidence in _evidence():
        if type(evidence) is not metric.of:
            continue
        first, again = list(metric.measure(evidence)), list(metric.measure(evidence))
        expect(repr(first) == repr(again), f"{metric.name} gave other values when it was computed again.")
        for score in first:
            expect(math.isfinite(score.value), f"{score.metric} is {score.value}. Yield nothing where it is not known.")
            without = math.isnan(score.low) and math.isnan(score.high)
            expect(
                without or score.low <= score.value <= score.high,
                f"{score.metric} is {score.value} and its interval {score.low} to {score.high}.",
            )
            expect(metric.names(score.metric), f"{metric.name} made a score of the name {score.metric}.")


@cache
def _evidence() -> tuple[Evidence, ...]:
    """A model, and what a judge says about held-out and public images."""
    private = private_people()
    judge = ClassifierJudge("classifier", _classifier(SmallResNet(width=8, dropout=0.0)))
    panel = Panel([judge], private, public=public_people().pixels)
    model = Model(ScoreKey("none", "-", 0), _classifier(NETWORK), private, judges=[judge])
    return (model, *panel.ceiling(), *panel.public_floor())


def _classifier(network: ModelConfig) -> TrainedModel:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        train(out, private_people(), model=network, defense=NoDefense(), training=quick_training(3), compute=CPU)
        return open_model(out, CPU)
