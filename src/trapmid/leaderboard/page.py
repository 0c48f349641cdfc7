"""The page of a leaderboard: one HTML file with all cards, which needs no network."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from trapmid.files import write_atomic
from trapmid.leaderboard.card import ResultCard, read_cards
from trapmid.leaderboard.making import MAIN_TABLE
from trapmid.metrics.metric import Metric
from trapmid.metrics.of_models import CLEAN_ACCURACY
from trapmid.metrics.recognition import AA1, AA5, KNN_DISTANCE
from trapmid.metrics.units import format_value
from trapmid.report.page import environment

COLUMNS: tuple[Metric[Any], ...] = (CLEAN_ACCURACY, AA1, AA5, KNN_DISTANCE)
HERE = Path(__file__).parent


class Cell(NamedTuple):
    """A number of a card.

    Attributes:
        value: the text of the value; empty if it was not measured.
        interval: the text of its 95 % interval; empty if there is none.
        paper: the text of the paper's number; empty if there is none.
        order: the value to sort by.
    """

    value: str
    interval: str
    paper: str
    order: float


def write_leaderboard(folder: str | Path, to: str | Path) -> Path:
    """Write the page about all cards of a folder, and return its path.

    Raises:
        UserError: there is no card, or a .json file that is none.
    """
    folder = Path(folder)
    to = Path(to)
    write_atomic(to, render(read_cards(folder)))
    return to


def render(cards: Sequence[ResultCard]) -> str:
    """The page as the text of one HTML file. Its script only sorts the table, which is whole without it."""
    script = (HERE / "sorting.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    best_first = sorted(cards, key=lambda card: (card.data.private, card.recipe, -_cell(card, AA1).order))
    return (
        environment(HERE)
        .get_template("leaderboard.html.j2")
        .render(
            rows=[(card, [_cell(card, metric) for metric in COLUMNS]) for card in best_first],
            columns=COLUMNS,
            table=MAIN_TABLE,
            script=Markup(script),  # noqa: S704 - our own file
            digest=digest,
        )
    )


def _cell(card: ResultCard, metric: Metric[Any]) -> Cell:
    score, paper = card.score(metric.name), card.published(metric.name)
    if score is None:
        return Cell("", "", paper.text if paper else "", -1.0)
    ends = [format_value(end, metric.unit, brief=True) for end in (score.low, score.high)]
    return Cell(
        format_value(score.value, metric.unit),
        f"{ends[0]} to {ends[1]}" if all(ends) and score.low < score.high else "",
        paper.text if paper else "",
        score.value,
    )
