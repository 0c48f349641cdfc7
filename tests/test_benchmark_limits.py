"""Hot paths have limits, a slow one is told if it is slow twice, and results have a time."""

import json
from pathlib import Path

import pytest

from benchmarks import guard, run
from benchmarks.__main__ import command
from benchmarks.time_to_result import Reached, plgmi, trapdoors
from benchmarks.timing import Measurement
from helpers.old_runs import unpack_run
from trapmid.engine import Compute
from trapmid.types import UserError


def at(ratios: dict[str, float]) -> list[Measurement]:
    return [Measurement(name, "a -> b", 1.0, ratio, ratio) for name, ratio in ratios.items()]


LIMITS = guard.limits()


def test_what_keeps_to_the_limits_is_fast_enough() -> None:
    found, told = guard.check(lambda: at(LIMITS))
    assert [one.ratio for one in found] == list(LIMITS.values())
    assert told == []


@pytest.mark.parametrize(("second", "count"), [(0.5, 0), (3.0, 1)])
def test_what_is_slow_is_measured_again(second: float, count: int) -> None:
    first = next(iter(LIMITS))
    turns = iter([at(LIMITS | {first: 2 * LIMITS[first]}), at(LIMITS | {first: second * LIMITS[first]})])
    _, told = guard.check(lambda: next(turns))
    assert len(told) == count
    assert all(sentence.startswith(f"{first}: a -> b: a ratio of") for sentence in told)
    assert next(turns, None) is None


def test_limits_and_measurements_belong_together() -> None:
    with pytest.raises(UserError, match="speed: measured without a limit, or the other way round"):
        guard.check(lambda: at(LIMITS | {"speed": 1.0}))


def test_the_history_is_data(tmp_path: Path) -> None:
    file = tmp_path / "new" / "history.jsonl"
    for ratio in (1.5, 2.5):
        guard.record(file, at({"speed": ratio}))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["ratios"] for line in lines] == [{"speed": 1.5}, {"speed": 2.5}]
    assert lines[0]["versions"]["torch"]


def test_a_rough_check_is_refused() -> None:
    with pytest.raises(UserError, match=r"--check measures the hot paths at their full size"):
        command(check=True, quick=True)


@pytest.mark.slow
def test_every_hot_path_has_a_limit() -> None:
    assert {one.name for one in run(quick=True, only=("hot-paths",))} == LIMITS.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_run(tmp_path_factory.mktemp("run"))


def test_when_a_trapdoor_worked(folder: Path) -> None:
    (log,) = folder.glob("models/trapmid-s0/log.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    (never,) = trapdoors(folder)
    assert never == Reached("trapmid, seed 0: trapdoor success of 99 %", None, rows[-1]["seconds"])


@pytest.mark.slow
def test_when_plgmi_was_nearly_done(folder: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    found = [*plgmi(folder, Compute("cpu"))]
    assert {one.what.split(",")[0] for one in found} == {"none", "trapmid", "bido", "mid"}
    assert all(one.seconds is not None and one.seconds > 0 for one in found)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()} == before
