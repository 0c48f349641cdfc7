"""The page: turns contents and figures into one self-contained HTML file."""

import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trapmid.report import palette, tables
from trapmid.report.chart import Chart
from trapmid.report.checks import failed
from trapmid.report.contents import Contents
from trapmid.report.gallery import person
from trapmid.report.verdict import cannot_show, judge

SHOWN_AT_ONCE = 24
"""The gallery shows so many identities at once and folds the rest, so that large audits open quickly."""

LOGS_AT_ONCE = 4
"""The page shows so many training curves at once and folds the rest."""


def render(contents: Contents, charts: Sequence[Chart], *, redact: bool = False, folder: str = "") -> str:
    """The report as the text of one HTML file, without network access or scripts.

    Args:
        contents: what to report.
        charts: its figures.
        redact: leave out private images and the names of identities. Reconstructions stay, because they are the result.
        folder: the folder beside the page with each figure as NAME.svg and NAME.csv; empty if there is none.
    """
    people = [person(row, at, contents.data.subject, redact=redact) for at, row in enumerate(contents.gallery, 1)]
    pages = environment()
    pages.filters["inline"] = lambda chart: Markup(chart.inline())  # noqa: S704 - our own SVG; its texts are escaped there
    return pages.get_template("template.html.j2").render(
        contents=contents,
        data=contents.data,
        verdict=judge(contents),
        blocked=cannot_show(contents),
        main=tables.main_table(contents),
        judges=tables.judges_table(contents),
        controls=tables.controls_table(contents),
        price=tables.price_table(contents),
        further=tables.further_tables(contents),
        checks=[*contents.warnings, *failed(contents)],
        costs=tables.cost_rows(contents.costs),
        all_scores=tables.all_scores(contents),
        people=people,
        shown_at_once=SHOWN_AT_ONCE,
        logs_at_once=LOGS_AT_ONCE,
        redacted=redact or any(row.private is None for row in contents.gallery),
        nameless=redact,
        results=[chart for chart in charts if chart.section == "results"],
        logs=[chart for chart in charts if chart.section == "logs"],
        detections=[chart for chart in charts if chart.section == "detection"],
        folder=folder,
        detection=tables.detection_table(contents),
        config=json.dumps(contents.config, indent=2, default=str, ensure_ascii=False),
        accesses=sorted({attack.access for attack in contents.attacks}, reverse=True),
    )


def environment(*folders: Path) -> Environment:
    """The templates of `folders` and those of the report, which share the look of its pages."""
    made = Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["light"] = Markup(palette.properties(palette.LIGHT))  # noqa: S704 - our own constants
    made.globals["dark"] = Markup(palette.properties(palette.DARK))  # noqa: S704
    return made
