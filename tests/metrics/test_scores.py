"""The tidy table as files."""

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trapmid.metrics.samples import write_samples
from trapmid.metrics.scores import Score, find, read_scores, write_scores
from trapmid.types import UserError

SCORES = [
    Score(
        defense="none",
        attack="plgmi",
        seed=0,
        judge="classifier",
        metric="attack_accuracy_1",
        value=0.5,
        low=0.4,
        high=0.6,
    ),
    Score(
        defense="none",
        attack="plgmi",
        seed=None,
        judge="classifier",
        metric="attack_accuracy_1",
        value=0.25,
        low=0.1,
        high=1 / 3,
    ),
    Score(
        defense="-", attack="real", seed=None, judge="classifier", metric="knn_distance", value=1e6, low=0.0, high=2e6
    ),
]


def test_write_and_read(tmp_path: Path) -> None:
    write_scores(tmp_path, SCORES)
    assert read_scores(tmp_path) == SCORES
    assert read_scores(tmp_path / "scores.json") == SCORES
    assert pq.read_table(tmp_path / "scores.parquet").to_pylist() == json.loads((tmp_path / "scores.json").read_text())


def test_an_unknown_interval_stays_unknown(tmp_path: Path) -> None:
    """Of a single seed there is no interval; that must survive a file, and the file must be JSON to everyone."""
    write_scores(tmp_path, [SCORES[0].model_copy(update={"low": math.nan, "high": math.nan})])
    (again,) = read_scores(tmp_path)
    assert again.value == 0.5
    assert math.isnan(again.low)
    assert math.isnan(again.high)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)


def test_find() -> None:
    assert find(SCORES, defense="none", seed=None) == [SCORES[1]]
    assert find(SCORES, metric="fid") == []
    assert find(SCORES) == SCORES


@pytest.mark.parametrize("content", [None, "{", "[1]", '[{"defense": "none"}]', "{}x", "null", '{"a": 1}'])
def test_what_is_no_scores_is_said_so(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "scores.json").write_text(content)
    with pytest.raises(
        UserError, match=r"(?s)scores\.json holds no scores .* Expected the scores\.json that `trapmid measure`"
    ):
        read_scores(tmp_path)


def test_samples_as_parquet(tmp_path: Path) -> None:
    rows = [
        {"defense": "none", "seed": None, "rank": 3, "accepted": True},
        {"defense": "none", "seed": 1, "rank": 0, "accepted": False},
    ]
    write_samples(tmp_path / "samples.parquet", rows)
    assert pq.read_table(tmp_path / "samples.parquet").to_pylist() == rows
