"""Scores: one table with a row for each value, from which every other table, figure and comparison is made."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AllowInfNan, BeforeValidator, PlainSerializer

from trapmid.config import Config
from trapmid.files import replacing, write_atomic
from trapmid.metrics.intervals import Interval
from trapmid.types import UserError

PRIOR_FLOOR = "prior:"
"""The attack column of scores of random samples of a prior begins with this; the prior's name follows. A floor."""

TRIGGERS_ALONE = "triggers-alone"
"""The attack column of scores of a negative control: the triggers of a trapdoor in an average image."""

HELD_OUT = "real"
"""The attack column of scores of held-out private images: the ceiling."""

PUBLIC = "public"
"""The attack column of scores of public images taken as reconstructions: a floor."""

NOT_APPLICABLE = "-"
"""In the columns defense, attack and judge: there was none."""


def _known(number: Any) -> Any:
    return math.nan if number is None else number


def _or_null(number: float) -> float | None:
    return None if math.isnan(number) else number


Number = Annotated[float, AllowInfNan(), BeforeValidator(_known), PlainSerializer(_or_null, return_type=float | None)]
"""A number that may be unknown: not a number here, null in files, since JSON has no NaN."""


class Score(Config):
    """One value of a metric with its 95 % interval.

    Attributes:
        defense: name of the defense that the model was trained with; "-" for floors and the ceiling, which concern no
            model.
        attack: name of the attack; "-" for a property of the model alone, "prior:NAME" for random samples of that prior
            (the floor), "public" for public images, "real" for held-out private images (the ceiling).
        seed: of the training and the attack; None for the mean over seeds.
        judge: the judge or feature network that the value depends on; "-" where it depends on none.
        metric: name of the metric, see `trapmid.metrics.METRICS`, which also has its unit.
        value: in the metric's unit; shares are fractions from 0 to 1, not percent.
        low: lower end of the 95 % interval: over identities where a seed is given, over seeds where it is None.
        high: upper end.
    """

    defense: str
    attack: str
    seed: int | None
    judge: str
    metric: str
    value: Number
    low: Number
    high: Number


class ScoreKey(NamedTuple):
    """The columns that name the run of a score: the defense of the model, the attack, and the seed of both."""

    defense: str
    attack: str
    seed: int | None

    def score(self, judge: str, metric: str, interval: Interval) -> Score:
        """A score of this run."""
        return Score(
            defense=self.defense,
            attack=self.attack,
            seed=self.seed,
            judge=judge,
            metric=metric,
            value=interval.value,
            low=interval.low,
            high=interval.high,
        )


def write_scores(folder: Path, scores: Iterable[Score]) -> None:
    """Write `scores.json` (a list of rows) and `scores.parquet` (the same table) into `folder`."""
    rows = [score.model_dump() for score in scores]
    schema = pa.schema(
        [(name, pa.string()) for name in ("defense", "attack")]
        + [("seed", pa.int64())]
        + [(name, pa.string()) for name in ("judge", "metric")]
        + [(name, pa.float64()) for name in ("value", "low", "high")]
    )
    write_atomic(folder / "scores.json", json.dumps(rows, indent=1) + "\n")
    with replacing(folder / "scores.parquet") as stream:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), stream)


def read_scores(path: str | Path) -> list[Score]:
    """Read a `scores.json`, or the one in a folder.

    Raises:
        UserError: there is no such file, or it is not a list of score rows.
    """
    path = Path(path)
    file = path / "scores.json" if path.is_dir() else path
    try:
        return [Score.model_validate(row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as problem:
        raise UserError(
            f"{file} holds no scores ({problem}). Expected the scores.json that `trapmid measure` or `trapmid audit` "
            "writes."
        ) from problem


def find(scores: Sequence[Score], **wanted: object) -> list[Score]:
    """The rows whose fields equal all of `wanted`, e.g. `find(scores, metric="fid", seed=None)`."""
    return [score for score in scores if all(getattr(score, name) == value for name, value in wanted.items())]
