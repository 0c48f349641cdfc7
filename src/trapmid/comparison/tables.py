"""Differences as text, for the console and for the page."""

import math
from collections.abc import Sequence

from trapmid.comparison.differences import Difference
from trapmid.comparison.matching import Match
from trapmid.metrics.metric import TableName
from trapmid.metrics.scores import NOT_APPLICABLE
from trapmid.metrics.table import of_name, title_of, unit_of
from trapmid.metrics.units import Unit, format_value
from trapmid.report.tables import Table, TableCell, TableRow


def shown_in(match: Match, found: Sequence[Difference], name: TableName) -> list[Difference]:
    """Differences in the metrics of a table, by the first judge that both sides have, model by model and attack by attack."""  # noqa: E501, W505
    judges = (match.judges[0].name, NOT_APPLICABLE)
    return [
        one
        for one in found
        if one.judge in judges and (metric := of_name(one.metric)) is not None and name in metric.tables
    ]


def table(match: Match, found: Sequence[Difference], titles: tuple[str, str]) -> Table:
    """A row for each difference between two models, with their titles as heads of the columns."""
    rows = tuple(
        TableRow(
            title_of(one.metric),
            "; ".join(part for part in (subject(match, one), getattr(of_name(one.metric), "hint", "")) if part),
            (
                TableCell(apart(one), span(one)),
                _cell(one, one.a, one.a_low, one.a_high),
                _cell(one, one.b, one.b_low, one.b_high),
                TableCell(one.interval),
            ),
        )
        for one in found
    )
    columns = (("B \u2212 A", "95\u00a0% interval"), ("A", titles[0]), ("B", titles[1]), ("Interval of B \u2212 A", ""))
    return Table(columns, rows, ())


def subject(match: Match, one: Difference) -> str:
    """The attack and, unless it is the first one, the judge that a difference depends on; empty if there is none."""
    attack = {attack.name: attack.heading for attack in match.attacks}.get(one.attack, "")
    judges = {judge.name: judge.heading for judge in match.judges[1:]}
    judge = judges.get(one.judge, "" if one.judge in (match.judges[0].name, NOT_APPLICABLE) else one.judge)
    return ", ".join(part for part in (attack, f"by {judge}" if judge else "") if part)


def apart(one: Difference) -> str:
    """The difference with its sign; of shares, in percentage points."""
    unit = unit_of(one.metric)
    text = signed(one.difference, unit)
    suffix = "points" if unit is Unit.SHARE else unit.symbol
    return f"{text}\u00a0{suffix}" if text and suffix else text


def signed(value: float, unit: Unit) -> str:
    """A value with its sign, unless it is printed as zero."""
    text = format_value(value, unit, signed=True)
    return text if text.strip("+-0.") else text.lstrip("+-")


def span(one: Difference) -> str:
    """The interval of the difference; empty if there is none."""
    if math.isnan(one.low):
        return ""
    return " to ".join(signed(end, unit_of(one.metric)) for end in (one.low, one.high))


def _cell(one: Difference, value: float, low: float, high: float) -> TableCell:
    unit = unit_of(one.metric)
    ends = "" if math.isnan(low) or low == high == value else f"{format_value(low, unit)} to {format_value(high, unit)}"
    return TableCell(format_value(value, unit, symbol=True), ends)
