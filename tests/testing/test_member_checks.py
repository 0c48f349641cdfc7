"""The checks for members of one's own: they pass what keeps its promises and say what is wrong with the rest."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from trapmid.data import SyntheticSource
from trapmid.defenses import DEFENSES, Changes, Defense, DefenseRun, PlainRun
from trapmid.metrics import (
    METRICS,
    ComparedSet,
    Interval,
    JudgedImages,
    Judgement,
    Measured,
    Metric,
    Model,
    NearestImages,
    PublicImages,
    Unit,
    by_judge,
)
from trapmid.metrics.metric import AnyMetric
from trapmid.models import Classifier
from trapmid.testing import Check, defense_checks, metric_checks, source_checks
from trapmid.types import Features, Images, Prediction


class Wrapped(Classifier):
    """A network whose features pass one more layer."""

    def __init__(self, body: Classifier) -> None:
        super().__init__(body.num_classes, body.image_size, body.channels)
        self.body, self.extra = body, nn.LazyLinear(8)
        self.head = nn.Linear(8, body.num_classes)
        self(torch.zeros(1, body.channels, body.image_size, body.image_size))

    def forward(self, images: Images) -> Prediction:
        features: Features = self.extra(self.body(images).features)
        return Prediction(self.head(features), features)


class Narrow(Defense):
    """Features pass a layer of eight units."""

    title = "Narrow"
    paper = "none"
    kind: Literal["test-narrow"] = "test-narrow"

    def changes(self) -> Changes:
        return Changes(network=Wrapped)


class Nameless(Narrow):
    """Narrow, without a paper."""

    paper = ""


class Forgetful(Defense):
    """Counts its batches and keeps the count out of its state."""

    title = "Forgetful"
    paper = "none"
    kind: Literal["test-forgetful"] = "test-forgetful"

    def changes(self) -> Changes:
        return Changes(run=ForgetfulRun)


class ForgetfulRun(DefenseRun):
    def __init__(self, context: Any) -> None:
        self.plain, self.seen = PlainRun(context), 0

    def losses(self, images: Images, labels: Tensor, epoch: int) -> Any:
        self.seen += 1
        losses, notes = self.plain.losses(images, labels, epoch)
        return {name: loss * self.seen for name, loss in losses.items()}, notes

    def calibration(self, images: Images) -> Tensor:
        return self.plain.calibration(images)


@pytest.fixture(autouse=True)
def forget_own_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DEFENSES, "_added", {})


def check_of(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


@pytest.mark.parametrize("check", defense_checks(Narrow()), ids=str)
def test_a_defense_from_outside_that_changes_the_network(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize("check", source_checks(SyntheticSource(identities=3, images_per_identity=4)), ids=str)
def test_the_packages_own_source(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize(
    ("defense", "promise", "words"),
    [
        (Nameless(), "describes_itself", "Nameless has no `paper`"),
        (Forgetful(), "resumes_to_the_same_bytes", "has to be in the state of its run"),
    ],
)
def test_a_broken_promise_is_told(defense: Defense, promise: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=words):
        check_of(defense_checks(defense), promise)(tmp_path)


METRICS_WITH_EVIDENCE = [
    one for one in METRICS if one.of in (Model, JudgedImages, ComparedSet, NearestImages, PublicImages)
]


@pytest.mark.parametrize("metric", METRICS_WITH_EVIDENCE, ids=lambda metric: metric.name)
def test_the_packages_own_metrics(metric: AnyMetric, tmp_path: Path) -> None:
    for check in metric_checks(metric):
        if check.name != "reaches_worker_processes":  # worker processes import the package's own
            check(tmp_path)


def _endless(evidence: JudgedImages) -> Iterator[Measured]:
    del evidence
    yield Measured(Interval(float("inf"), 0.0, 1.0))


def _sure(said: Judgement) -> Tensor:
    return said.rank < 2


@pytest.mark.parametrize(
    "check",
    metric_checks(
        Metric("attack_accuracy_2", "AA-2", Unit.SHARE, "lower", JudgedImages, by_judge(_sure), "Among the first two.")
    ),
    ids=str,
)
def test_a_metric_from_outside(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


ENDLESS: AnyMetric = Metric("endless", "Endless", Unit.NUMBER, "neither", JudgedImages, _endless, "It has no end.")


@pytest.mark.parametrize(
    ("metric", "promise", "words"),
    [
        (replace(ENDLESS, about="No sentence"), "describes_itself", "does not say in a sentence"),
        (replace(ENDLESS, name="knn_distance"), "has_a_name_of_its_own", "is the name of another metric"),
        (replace(ENDLESS, compute=lambda evidence: iter(())), "reaches_worker_processes", "a function of a module"),
        (ENDLESS, "has_finite_values_in_intervals", "endless is inf"),
    ],
)
def test_what_is_wrong_with_a_metric_is_told(metric: AnyMetric, promise: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=words):
        check_of(metric_checks(metric), promise)(tmp_path)


def test_a_source_that_reads_at_random_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(9))
    drawn = SyntheticSource.load

    def load(self: SyntheticSource, *shape: Any) -> Any:
        return drawn(self.model_copy(update={"seed": next(calls)}), *shape)

    monkeypatch.setattr(SyntheticSource, "load", load)
    check = check_of(source_checks(SyntheticSource(identities=3)), "reads_the_same_images_each_time")
    with pytest.raises(AssertionError, match="Reading twice gave different images"):
        check(tmp_path)
