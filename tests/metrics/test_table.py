"""The table of metrics: what it says, that no other place says it, and that a metric from outside joins it."""

import ast
import math
import pickle
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import trapmid
from trapmid.metrics import (
    METRICS,
    Interval,
    JudgedImages,
    Measured,
    Metric,
    PublicImages,
    Unit,
    format_value,
    metrics,
    of_name,
    register,
    table,
    without,
)
from trapmid.metrics.document import document
from trapmid.metrics.table import registered_for_workers, versions_of
from trapmid.metrics.units import percent
from trapmid.report import tables
from trapmid.types import UserError

ROOT = Path(trapmid.__file__).parent
IN_MANIFESTS = {"queries", "start_batches", "identities_without_start", "trapdoor_success"}
"""Names of metrics that trainings and attacks also give to numbers in their manifests."""


def test_every_metric_says_what_it_is() -> None:
    assert len({metric.name for metric in METRICS}) == len({metric.title for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.about.endswith(".")
        assert metric.version >= 1
        assert [other for other in METRICS if other.names(metric.name)] == ([] if metric.variants else [metric])


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("attack_accuracy_1", 0.0523, "5.2\u00a0%"),
        ("queries", 1200.0, "1,200"),
        ("queries_to_success", 1200.0, "1,200"),  # a metric that is not known here is a number
        ("knn_distance", 1234.5, "1,234"),
        ("knn_distance", 31.21, "31.2"),
        ("knn_distance", 0.8125, "0.812"),
        ("robust_accuracy_8_255", 0.11, "11.0\u00a0%"),
        ("target_confidence", 0.875, "87.5\u00a0%"),
        ("training_seconds", 3912.4, "3,912\u00a0s"),
        ("trapdoor_delta", -1.25, "-1.25"),
        ("fid", math.nan, ""),
    ],
)
def test_a_value_is_printed_in_its_metrics_unit(name: str, value: float, text: str) -> None:
    assert tables.number(name, value) == text


def test_brief_and_signed_values() -> None:
    assert format_value(0.0523, Unit.SHARE, brief=True) == "5"
    assert format_value(0.0523, Unit.SHARE, signed=True) == "+5.2"
    assert format_value(-12.0, Unit.NUMBER, signed=True) == "-12.0"
    assert percent(0.001) == "under 1\u00a0%"


def test_variants_are_their_metrics() -> None:
    metric = of_name("robust_accuracy_16_255")
    assert metric is not None
    assert (metric.name, metric.hint_of("robust_accuracy_16_255")) == ("robust_accuracy", "within 16/255")
    assert of_name("robust_accuracy_16") is None
    assert of_name("attack_accuracy_1_accepted") is not of_name("attack_accuracy_1")


def literals(file: Path) -> Iterator[str]:
    """Every string constant that is no docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def test_no_other_room_knows_a_metrics_name() -> None:
    names = {metric.name for metric in METRICS} - IN_MANIFESTS
    elsewhere = [file for file in ROOT.rglob("*.py") if ROOT / "metrics" not in file.parents]
    assert len(elsewhere) > 100
    found = {f"{file.relative_to(ROOT)}: {text}" for file in elsewhere for text in literals(file) if text in names}
    assert found == set()


def test_the_page_of_the_docs_is_what_the_table_says() -> None:
    assert (ROOT.parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8") == document()


def counted(evidence: PublicImages) -> Iterator[Measured]:
    yield Measured(without(len(evidence.judgements)))


def brightness(version: int = 1, name: str = "brightness") -> Metric[JudgedImages]:
    def compute(evidence: JudgedImages) -> Iterator[Measured]:
        mean = float(evidence.pixels.double().mean()) / 255
        yield Measured(Interval(mean, mean, mean))

    return Metric(
        name, "Brightness", Unit.SHARE, "neither", JudgedImages, compute, "How bright images are.", version=version
    )


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(table, "_registered", {})
    yield
    table._installed.cache_clear()


def test_a_metric_from_outside_joins() -> None:
    one = brightness()
    assert register(one) is register(one) is one
    assert metrics() == (*METRICS, one)
    assert of_name("brightness") is one


def test_only_a_function_of_a_module_reaches_worker_processes() -> None:
    register(Metric("known", "Known", Unit.COUNT, "neither", PublicImages, counted, "How many images there are."))
    (again,) = pickle.loads(pickle.dumps(registered_for_workers()))
    assert (again.name, again.compute) == ("known", counted)
    register(brightness())
    with pytest.raises(UserError, match="The metric 'brightness' cannot be sent to worker processes"):
        registered_for_workers()


@pytest.mark.parametrize("name", ["attack_accuracy_1", "robust_accuracy_4_255"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"There is a metric '.*' already"):
        register(brightness(name=name))


COUNTED = Metric("counted", "Counted", Unit.COUNT, "neither", PublicImages, counted, "How many images there are.")
TAKEN = Metric("queries", "Counted", Unit.COUNT, "neither", PublicImages, counted, "How many images there are.")


def installed(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """As if a package were installed that has this entry point."""
    point = EntryPoint(name=name, value=value, group=table.GROUP)
    monkeypatch.setattr(table, "entry_points", lambda group: [point] if group == table.GROUP else [])
    table._installed.cache_clear()


def test_an_installed_package_adds_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "counted", f"{__name__}:COUNTED")
    assert metrics() == (*METRICS, COUNTED)
    assert of_name("counted") is COUNTED
    assert versions_of([PublicImages])["counted"] == 1
    assert registered_for_workers() == ()  # a worker process finds the entry point itself
    assert "counted" not in document()
    with pytest.raises(UserError, match="There is a metric 'counted' already"):
        register(brightness(name="counted"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("counted", "missing_module:COUNTED", "The metric counted cannot be loaded: ModuleNotFoundError"),
        ("other", f"{__name__}:COUNTED", "Expected a Metric with the name 'other'"),
        ("counted", f"{__name__}:counted", "Expected a Metric with the name 'counted'"),
        ("queries", f"{__name__}:TAKEN", "The metric queries has the name of a metric of trapmid"),
    ],
)
def test_an_installed_metric_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    installed(monkeypatch, name, value)
    with pytest.raises(UserError, match=words):
        metrics()
