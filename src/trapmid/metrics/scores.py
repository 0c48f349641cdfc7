"""Scores: the tidy table every measure writes into and every table, figure and comparison is made from."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AllowInfNan, BeforeValidator, PlainSerializer

from trapmid.config import Config
from trapmid.files import replacing, write_atomic
from trapmid.metrics.intervals import Interval
from trapmid.types import UserError

PRIOR_FLOOR = "prior:"
"""What the attack of a floor row begins with, before the prior's name."""

TRIGGERS_ALONE = "triggers-alone"
"""The attack of a control's row: the triggers of a trapdoor without anybody's picture."""

WRONG_IDENTITY = "attack_accuracy_1_wrong_identity"
"""The metric of a control: how often reconstructions are taken for somebody else, the same for every model."""

GENERATOR_NEAREST = "generator_private_nearest_share"
"""The metric of an attack's generator before any search: the share of its random samples that private images are nearest to."""

NOBODY = "-"
"""Who trained, attacked or judged where nobody had to."""


def _known(number: Any) -> Any:
    return math.nan if number is None else number


def _or_null(number: float) -> float | None:
    return None if math.isnan(number) else number


Number = Annotated[float, AllowInfNan(), BeforeValidator(_known), PlainSerializer(_or_null, return_type=float | None)]
"""A number that may be unknown: not a number here, null in files, since JSON has no NaN."""


class Score(Config):
    """One number with its 95 % interval.

    Attributes:
        defense: the member of the defenses that trained the model; "-" for rows that concern no model (floor, ceiling).
        attack: the member of the attacks; "-" for a property of the model alone (clean accuracy), "prior:NAME" for the floor
            (random samples of that prior, no inversion), "real" for the ceiling (held-out private images).
        seed: of the training and the attack; None for the mean over seeds.
        judge: who decided; "-" where nobody had to.
        metric: `clean_accuracy`, `attack_accuracy_1`, `attack_accuracy_5`, `knn_distance`, `fid`, `trapdoor_success`, `trapdoor_delta`, ...
        value: a fraction for accuracies, never percent; nats for `trapdoor_delta`, `trapdoor_delta_worst`, `trapdoor_epsilon`.
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


@dataclass(frozen=True)
class Cell:
    """What a row is about: how the model was trained, how it was attacked, with which seed."""

    defense: str
    attack: str
    seed: int | None

    def score(self, judge: str, metric: str, interval: Interval) -> Score:
        """A row about it."""
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


def read_scores(path: Path) -> list[Score]:
    """Read a `scores.json`, or the one in a folder.

    Raises:
        UserError: there is no such file, or it is not a list of score rows.
    """
    file = path / "scores.json" if path.is_dir() else path
    try:
        return [Score.model_validate(row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as problem:
        raise UserError(
            f"{file} holds no scores ({problem}). Expected the scores.json that `trapmid measure` or `trapmid audit` writes."
        ) from problem


def find(scores: Sequence[Score], **wanted: object) -> list[Score]:
    """The rows whose fields equal all of `wanted`, e.g. `find(scores, metric="fid", seed=None)`."""
    return [score for score in scores if all(getattr(score, name) == value for name, value in wanted.items())]
