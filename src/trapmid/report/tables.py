"""The tables of a report: scores and costs as rows of cells that only wait to be printed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trapmid.metrics.scores import PRIOR_FLOOR, TRIGGERS_ALONE, WRONG_IDENTITY, Score
from trapmid.report.contents import CEILING, UNPROTECTED, Contents, Cost, Defense
from trapmid.report.verdict import percent

COLUMNS = (
    ("clean_accuracy", "Clean accuracy", "higher is more useful"),
    ("attack_accuracy_1", "AA-1", "lower is safer"),
    ("attack_accuracy_1_accepted", "AA-1 accepted", "lower is safer"),
    ("attack_accuracy_1_corrected", "AA-1 corrected", "lower is safer"),
    ("attack_accuracy_5", "AA-5", "lower is safer"),
    ("attack_accuracy_5_accepted", "AA-5 accepted", "lower is safer"),
    ("knn_distance", "KNN distance", "higher is safer"),
    ("fid", "FID", "higher is safer"),
    ("trapdoor_success", "Trapdoor success", "100\u00a0%: it took"),
    ("trapdoor_delta", "Delta", "should exceed epsilon"),
    ("trapdoor_epsilon", "Epsilon", "at least"),
)
_OF_THE_MODEL = {"clean_accuracy", "trapdoor_success", "trapdoor_delta", "trapdoor_epsilon"}
FURTHER = (
    ("knn_distance", "KNN distance", "squared"),
    ("knn_distance_l2", "KNN distance", "plain"),
    ("fid", "FID", "higher is safer"),
    ("kid", "KID", "higher is safer"),
    ("precision", "Precision", "as published"),
    ("recall", "Recall", "as published"),
    ("density", "Density", "as published"),
    ("coverage", "Coverage", "lower is safer"),
    ("precision_naeem", "Precision", "Naeem et al."),
    ("recall_naeem", "Recall", "Naeem et al."),
    ("density_naeem", "Density", "Naeem et al."),
    ("private_nearest_share", "Private nearest", "lower is safer"),
)
PRICE = (
    ("clean_accuracy", "Clean accuracy", "higher is more useful"),
    ("calibration_error", "Calibration error", "lower is more honest"),
    ("zero_gradient_share", "No gradient", "should be 0"),
    ("privacy_epsilon", "Privacy epsilon", "of the training; lower is safer"),
)
_ROBUST = "robust_accuracy_"
DETECTION_COLUMNS = (
    ("detection_score", "Mean cosine", "with the signature"),
    ("detection_auc", "AUC", "50\u00a0%: no better than chance"),
    ("detection_recall", "Recall", "flagged of recovered"),
    ("detection_dsr", "DSR", "right on clean and adversarial"),
    ("detection_false_positives", "False positives", "flagged of clean"),
)
_SHARES = (
    *("accuracy", "success", "rate", "share", "precision", "recall", "coverage", "calibration", "disagreement"),
    *("false_positives", "auc", "dsr"),
)


@dataclass(frozen=True)
class Cell:
    """A value and its interval as text; both empty where nothing was measured."""

    value: str = ""
    interval: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table: its head, an optional second head, its cells."""

    head: str
    sub: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Columns as (title, hint), the rows of the models, and the rows that frame them (floor, ceiling)."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    frame: tuple[Row, ...]


def main_table(contents: Contents) -> Table:
    """Every attack on every defense by the first judge, floor and ceiling apart; without columns nobody measured."""
    rows, frame = [], []
    for defense in contents.defenses:
        relative = _relative(contents, defense)
        for attack in contents.attacks:
            cells = [
                _cell(contents.score(defense.name, "-" if metric in _OF_THE_MODEL else attack.name, metric))
                for metric, _, _ in COLUMNS
            ]
            rows.append(Row(defense.title, attack.title, (*cells, relative)))
    for title, text, name in _frames(contents):
        cells = [_cell(contents.score("-", name, metric)) for metric, _, _ in COLUMNS]
        if any(cell.value for cell in cells):
            frame.append(Row(title, text, (*cells, Cell())))
    columns = [(title, hint) for _, title, hint in COLUMNS] + [("Training cost", "against plain")]
    return _measured(columns, rows, frame)


def further_tables(contents: Contents) -> list[tuple[str, Table]]:
    """Distances and likeness as each judge, or a network that is none, measured them: (its title, its table)."""
    titles = {judge.name: judge.title for judge in contents.judges}
    names = [*titles, *sorted({row.judge for row in contents.scores if row.metric == "fid"} - titles.keys())]
    found = []
    for name in names:

        def row(head: str, sub: str, defense: str, attack: str, by: str = name) -> Row:
            return Row(head, sub, tuple(_cell(contents.score(defense, attack, metric, by)) for metric, _, _ in FURTHER))

        rows = [row(d.title, a.title, d.name, a.name) for d in contents.defenses for a in contents.attacks]
        frame = [row(title, text, "-", attack) for title, text, attack in _frames(contents)]
        table = _measured([(title, hint) for _, title, hint in FURTHER], rows, frame)
        if table.columns:
            found.append((titles.get(name, name), table))
    return found


def controls_table(contents: Contents) -> Table | None:
    """What judges say to pictures that show nobody in particular; None where no control was measured."""

    def row(head: str, sub: str, defense: str, attack: str, metric: str = "attack_accuracy_1") -> Row:
        cells = (_cell(contents.score(defense, attack, metric, judge.name)) for judge in contents.judges)
        return Row(head, sub, tuple(cells))

    wrong = [
        row(defense.title, f"{attack.title}, under a wrong name", defense.name, attack.name, WRONG_IDENTITY)
        for defense in contents.defenses
        for attack in contents.attacks
    ]
    alone = [
        row(defense.title, "its triggers alone, on an average face", defense.name, TRIGGERS_ALONE)
        for defense in contents.defenses
    ]
    strangers = row("Other people", "accepted as somebody private", "-", "public", "false_positive_rate")
    rows = [one for one in (*wrong, *alone, strangers) if any(cell.value for cell in one.cells)]
    if not rows:
        return None
    columns = tuple((judge.title, judge.note) for judge in contents.judges)
    return Table(columns, tuple(rows), tuple(row(title, text, "-", name) for title, text, name in _frames(contents)))


def price_table(contents: Contents) -> Table | None:
    """What each defense costs the model; None where nothing beside clean accuracy was measured."""
    budgets = sorted({int(row.metric.split("_")[2]) for row in contents.scores if row.metric.startswith(_ROBUST)})
    robust = [(f"{_ROBUST}{budget}_255", "Robust accuracy", f"within {budget}/255") for budget in budgets]
    columns = [*PRICE, *robust]
    if not any(row.metric in {metric for metric, _, _ in columns[1:]} for row in contents.scores):
        return None
    rows = [
        Row(d.title, "", tuple(_cell(contents.score(d.name, "-", metric)) for metric, _, _ in columns))
        for d in contents.defenses
    ]
    return _measured([(title, hint) for _, title, hint in columns], rows, [])


def judges_table(contents: Contents, metric: str = "attack_accuracy_1") -> Table | None:
    """The same attacks as each judge sees them; None where there is only one judge."""
    if len(contents.judges) < 2:
        return None
    groups = [
        (defense.title, attack.title, defense.name, attack.name)
        for defense in contents.defenses
        for attack in contents.attacks
    ]

    def row(head: str, sub: str, defense: str, attack: str) -> Row:
        cells = [_cell(contents.score(defense, attack, metric, judge.name)) for judge in contents.judges]
        return Row(head, sub, (*cells, _cell(contents.score(defense, attack, "judge_disagreement", "-"))))

    return _measured(
        [*((judge.title, judge.note) for judge in contents.judges), ("Disagree", "share of pictures")],
        [row(*group) for group in groups],
        [row(title, text, "-", name) for title, text, name in _frames(contents)],
    )


def detection_table(contents: Contents) -> Table:
    """What each detector makes of every set: means over seeds, by the calibrated threshold where there is one, else by the published one."""
    rows = []
    suffix = "_published" if all(detection.threshold is None for detection in contents.detections) else ""
    for detection in contents.detections:
        title = next((d.title for d in contents.defenses if d.name == detection.defense), detection.defense)
        for name in detection.scores:
            measured = (
                contents.score(detection.defense, name, metric)
                or contents.score(detection.defense, name, f"{metric}{suffix}")
                for metric, _, _ in DETECTION_COLUMNS
            )
            rows.append(Row(title, detection.titles[name], tuple(map(_cell, measured))))
    return Table(tuple((title, hint) for _, title, hint in DETECTION_COLUMNS), tuple(rows), ())


def _frames(contents: Contents) -> list[tuple[str, str, str]]:
    """Title, explanation and attack name of the rows that frame a table."""
    floors = contents.floors()
    generators = [f" ({name.removeprefix(PRIOR_FLOOR)})" if len(floors) > 1 else "" for name in floors]
    said = [f"random samples of the attacker's generator{generator}" for generator in generators]
    return [
        *(("Floor", text, name) for text, name in zip(said, floors, strict=True)),
        ("Ceiling", "held-out private images", CEILING),
    ]


def cost_rows(costs: Sequence[Cost]) -> list[tuple[str, ...]]:
    """Cell, kind of work, time, time per identity, queries, the model's confidence, peak memory, multiple of plain: as text."""
    return [
        (
            cost.cell,
            cost.work,
            duration(cost.seconds),
            duration(cost.seconds / cost.identities) if cost.identities else "",
            f"{cost.queries:,}" if cost.queries is not None else "",
            percent(cost.confidence, 1) if cost.confidence is not None else "",
            f"{cost.peak_mib:,.0f}\u00a0MiB" if cost.peak_mib is not None else "",
            f"{cost.relative:.1f}\u00a0\u00d7" if cost.relative is not None else "",
        )
        for cost in costs
    ]


def all_scores(contents: Contents) -> list[tuple[str, str, str, str, str, str, str]]:
    """The whole tidy table as text, in its own order."""
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
    """A value in its metric's unit; shares as percent with one decimal."""
    if math.isnan(value):
        return ""
    if any(word in metric for word in _SHARES):
        return percent(value, 1)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def interval(row: Score) -> str:
    """The 95 % interval as "low to high"; empty where it has no width to speak of."""
    if math.isnan(row.low) or math.isnan(row.high) or row.low == row.high == row.value:
        return ""
    low, high = number(row.metric, row.low), number(row.metric, row.high)
    return f"{low.removesuffix(percent(0.0)[1:])} to {high}"


def duration(seconds: int | float) -> str:
    """Seconds as people say them: "12 s", "4 min 10 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}\u00a0s" if seconds < 10 else f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02d}\u00a0min"


def _relative(contents: Contents, defense: Defense) -> Cell:
    if defense.name == UNPROTECTED:
        return Cell("1\u00a0\u00d7")
    found = [
        cost.relative
        for cost in contents.costs
        if cost.defense == defense.name and cost.work == "train" and cost.relative is not None
    ]
    return Cell(f"{sum(found) / len(found):.1f}\u00a0\u00d7") if found else Cell()


def _cell(score: Score | None) -> Cell:
    return Cell() if score is None else Cell(number(score.metric, score.value), interval(score))


def _measured(columns: Sequence[tuple[str, str]], rows: Sequence[Row], frame: Sequence[Row]) -> Table:
    """The table without columns that nobody measured."""
    used = [place for place in range(len(columns)) if any(row.cells[place].value for row in [*rows, *frame])]
    return Table(
        columns=tuple(columns[place] for place in used),
        rows=tuple(_only(row, used) for row in rows),
        frame=tuple(_only(row, used) for row in frame),
    )


def _only(row: Row, places: Sequence[int]) -> Row:
    return Row(row.head, row.sub, tuple(row.cells[place] for place in places))
