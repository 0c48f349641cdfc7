"""The tables of a report: scores and costs as text. Metrics define their titles, units and tables."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trapmid.metrics.detecting import AT_THE_PUBLISHED_THRESHOLD
from trapmid.metrics.metric import TableName
from trapmid.metrics.of_models import CLEAN_ACCURACY
from trapmid.metrics.recognition import AA1, AA1_WRONG_IDENTITY, FALSE_POSITIVE_RATE, JUDGE_DISAGREEMENT
from trapmid.metrics.scores import HELD_OUT, NOT_APPLICABLE, PRIOR_FLOOR, PUBLIC, TRIGGERS_ALONE, Score
from trapmid.metrics.sets import FID
from trapmid.metrics.table import metrics, unit_of
from trapmid.metrics.units import Unit, format_value, percent
from trapmid.report.contents import UNPROTECTED, Attack, Contents, Cost, Defense

RELATIVE_COST = ("Training cost", "relative to unprotected")


class MetricColumn(NamedTuple):
    """A column of scores.

    Attributes:
        name: the name of its scores.
        title: the title of the metric.
        hint: a short explanation below the title.
        of_model: whether its scores depend on the model only, not on the attack.
    """

    name: str
    title: str
    hint: str
    of_model: bool


@dataclass(frozen=True)
class TableCell:
    """A value and its interval as text. Both are empty if nothing was measured."""

    value: str = ""
    interval: str = ""


@dataclass(frozen=True)
class TableRow:
    """One row of a table: its head, a short explanation below the head, and its cells."""

    head: str
    sub: str
    cells: tuple[TableCell, ...]


@dataclass(frozen=True)
class Table:
    """Columns as (title, hint), the rows of the models, and the reference rows (`frame`: floor and ceiling)."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[TableRow, ...]
    frame: tuple[TableRow, ...]


def columns_of(contents: Contents, table: TableName) -> list[MetricColumn]:
    """The columns of a table: every metric that belongs to it, with each measured variant."""
    measured = dict.fromkeys(row.metric for row in contents.scores)
    found = []
    for metric in metrics():
        if table in metric.tables:
            names = [name for name in measured if metric.names(name)] if metric.variants else [metric.name]
            found += [
                MetricColumn(name, metric.title, metric.hint_of(name), metric.subject == "model")
                for name in sorted(names, key=lambda name: (len(name), name))
            ]
    return found


def main_table(contents: Contents) -> Table:
    """Every attack on every defense by the first judge, with floor and ceiling. Empty columns are left out."""
    columns = columns_of(contents, "main")
    rows, frame = [], []
    for defense in contents.defenses:
        relative = _relative(contents, defense)
        for attack in contents.attacks:
            cells = [
                _cell(contents.score(defense.name, NOT_APPLICABLE if one.of_model else attack.name, one.name))
                for one in columns
            ]
            rows.append(TableRow(defense.title, _attacked_by(contents, defense, attack), (*cells, relative)))
    for title, text, name in _frames(contents):
        cells = [_cell(contents.score(NOT_APPLICABLE, name, one.name)) for one in columns]
        if any(cell.value for cell in cells):
            frame.append(TableRow(title, text, (*cells, TableCell())))
    return _measured([*_heads(columns), RELATIVE_COST], rows, frame)


def further_tables(contents: Contents) -> list[tuple[str, Table]]:
    """Distances and comparisons of image sets, as (title, table) for each judge and feature network."""
    columns = columns_of(contents, "further")
    titles = {judge.name: judge.title for judge in contents.judges}
    networks = [*titles, *sorted({row.judge for row in contents.scores if FID.names(row.metric)} - titles.keys())]
    found = []
    for network in networks:

        def row(head: str, sub: str, defense: str, attack: str, by: str = network) -> TableRow:
            return TableRow(head, sub, tuple(_cell(contents.score(defense, attack, one.name, by)) for one in columns))

        rows = [
            row(d.title, _attacked_by(contents, d, a), d.name, a.name)
            for d in contents.defenses
            for a in contents.attacks
        ]
        frame = [row(title, text, NOT_APPLICABLE, attack) for title, text, attack in _frames(contents)]
        table = _measured(_heads(columns), rows, frame)
        if table.columns:
            found.append((titles.get(network, network), table))
    return found


def controls_table(contents: Contents) -> Table | None:
    """AA-1 of the negative controls by each judge; None if no control was measured."""

    def row(head: str, sub: str, defense: str, attack: str, metric: str = AA1.name) -> TableRow:
        cells = (_cell(contents.score(defense, attack, metric, judge.name)) for judge in contents.judges)
        return TableRow(head, sub, tuple(cells))

    wrong = [
        row(defense.title, f"{attack.title}, under a wrong name", defense.name, attack.name, AA1_WRONG_IDENTITY.name)
        for defense in contents.defenses
        for attack in contents.attacks
    ]
    alone = [
        row(defense.title, "its triggers alone, on an average face", defense.name, TRIGGERS_ALONE)
        for defense in contents.defenses
    ]
    strangers = row("Other people", "accepted as a private identity", NOT_APPLICABLE, PUBLIC, FALSE_POSITIVE_RATE.name)
    rows = [one for one in (*wrong, *alone, strangers) if any(cell.value for cell in one.cells)]
    if not rows:
        return None
    columns = tuple((judge.title, judge.note) for judge in contents.judges)
    frame = tuple(row(title, text, NOT_APPLICABLE, name) for title, text, name in _frames(contents))
    return Table(columns, tuple(rows), frame)


def price_table(contents: Contents) -> Table | None:
    """Accuracy, calibration and robustness of each model; None if only clean accuracy was measured."""
    columns = columns_of(contents, "price")
    beside = {one.name for one in columns} - {CLEAN_ACCURACY.name}
    if not any(row.metric in beside for row in contents.scores):
        return None
    rows = [
        TableRow(d.title, "", tuple(_cell(contents.score(d.name, NOT_APPLICABLE, one.name)) for one in columns))
        for d in contents.defenses
    ]
    return _measured(_heads(columns), rows, [])


def judges_table(contents: Contents) -> Table | None:
    """AA-1 of the same reconstructions by each judge; None if there is one judge only."""
    if len(contents.judges) < 2:
        return None

    def row(head: str, sub: str, defense: str, attack: str) -> TableRow:
        cells = [_cell(contents.score(defense, attack, AA1, judge.name)) for judge in contents.judges]
        apart = _cell(contents.score(defense, attack, JUDGE_DISAGREEMENT, NOT_APPLICABLE))
        return TableRow(head, sub, (*cells, apart))

    return _measured(
        [
            *((judge.title, judge.note) for judge in contents.judges),
            (JUDGE_DISAGREEMENT.title, JUDGE_DISAGREEMENT.hint),
        ],
        [
            row(d.title, _attacked_by(contents, d, a), d.name, a.name)
            for d in contents.defenses
            for a in contents.attacks
        ],
        [row(title, text, NOT_APPLICABLE, name) for title, text, name in _frames(contents)],
    )


def detection_table(contents: Contents) -> Table:
    """The detectors' scores of each set of images, at the calibrated threshold, else at the published one."""
    columns = columns_of(contents, "detection")
    calibrated = any(detection.threshold is not None for detection in contents.detections)
    rows = []
    for detection in contents.detections:
        title = next((d.title for d in contents.defenses if d.name == detection.defense), detection.defense)
        for name in detection.scores:
            scores = []
            for one in columns:
                score = contents.score(detection.defense, name, one.name)
                published = AT_THE_PUBLISHED_THRESHOLD.get(one.name)
                if score is None and published is not None and not calibrated:
                    score = contents.score(detection.defense, name, published)
                scores.append(score)
            rows.append(TableRow(title, detection.titles[name], tuple(map(_cell, scores))))
    return Table(tuple(_heads(columns)), tuple(rows), ())


def _attacked_by(contents: Contents, defense: Defense, attack: Attack) -> str:
    """The title of an attack, and the reason if it was not measured on the model of a defense."""
    if any((row.defense, row.attack) == (defense.name, attack.name) for row in contents.scores):
        return attack.title
    reason = "not run: it needs a trapdoor, and this model has none" if attack.needs_trapdoor else "not measured yet"
    return f"{attack.title} ({reason})"


def _frames(contents: Contents) -> list[tuple[str, str, str]]:
    """Title, explanation and attack name of the reference rows: each floor, and the ceiling."""
    floors = contents.floors()
    generators = [f" ({name.removeprefix(PRIOR_FLOOR)})" if len(floors) > 1 else "" for name in floors]
    said = [f"random samples of the attacker's generator{generator}" for generator in generators]
    return [
        *(("Floor", text, name) for text, name in zip(said, floors, strict=True)),
        ("Ceiling", "held-out private images", HELD_OUT),
    ]


def cost_rows(costs: Sequence[Cost]) -> list[tuple[str, ...]]:
    """Costs as text: step, work, time, time per identity, queries, confidence, peak memory, relative time."""
    return [
        (
            cost.cell,
            cost.work,
            duration(cost.seconds),
            duration(cost.seconds / cost.identities) if cost.identities else "",
            format_value(cost.queries, Unit.COUNT) if cost.queries is not None else "",
            percent(cost.confidence, 1) if cost.confidence is not None else "",
            f"{cost.peak_mib:,.0f}\u00a0MiB" if cost.peak_mib is not None else "",
            f"{cost.relative:.1f}\u00a0\u00d7" if cost.relative is not None else "",
        )
        for cost in costs
    ]


def all_scores(contents: Contents) -> list[tuple[str, str, str, str, str, str, str]]:
    """All scores as text, in the order of the contents."""
    return [
        (
            row.defense,
            row.attack,
            "mean" if row.seed is None else str(row.seed),
            row.judge,
            row.metric,
            number(row.metric, row.value),
            interval(row),
        )
        for row in contents.scores
    ]


def number(metric: str, value: float) -> str:
    """The value with the symbol of the metric's unit."""
    return format_value(value, unit_of(metric), symbol=True)


def interval(row: Score) -> str:
    """The 95 % interval as "low to high"; empty if it is unknown or has no width."""
    if math.isnan(row.low) or math.isnan(row.high) or row.low == row.high == row.value:
        return ""
    return f"{format_value(row.low, unit_of(row.metric))} to {number(row.metric, row.high)}"


def duration(seconds: int | float) -> str:
    """Seconds in words: "12 s", "4 min 10 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}\u00a0s" if seconds < 10 else f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02d}\u00a0min"


def _relative(contents: Contents, defense: Defense) -> TableCell:
    if defense.name == UNPROTECTED:
        return TableCell("1\u00a0\u00d7")
    found = [
        cost.relative
        for cost in contents.costs
        if cost.defense == defense.name and cost.work == "train" and cost.relative is not None
    ]
    return TableCell(f"{sum(found) / len(found):.1f}\u00a0\u00d7") if found else TableCell()


def _cell(score: Score | None) -> TableCell:
    return TableCell() if score is None else TableCell(number(score.metric, score.value), interval(score))


def _heads(columns: Iterable[MetricColumn]) -> list[tuple[str, str]]:
    return [(one.title, one.hint) for one in columns]


def _measured(columns: Sequence[tuple[str, str]], rows: Sequence[TableRow], frame: Sequence[TableRow]) -> Table:
    """The table without empty columns."""
    used = [place for place in range(len(columns)) if any(row.cells[place].value for row in [*rows, *frame])]
    return Table(
        columns=tuple(columns[place] for place in used),
        rows=tuple(_only(row, used) for row in rows),
        frame=tuple(_only(row, used) for row in frame),
    )


def _only(row: TableRow, places: Sequence[int]) -> TableRow:
    return TableRow(row.head, row.sub, tuple(row.cells[place] for place in places))
