"""The command that compares two audits, and how a comparison is shown on the console."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table

from trapmid.cli.options import OptionalFolder
from trapmid.cli.running import check_browser, loading, print_page
from trapmid.console import console

if TYPE_CHECKING:
    from trapmid.comparison import Comparison

Audit = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|MODEL")]


def compare(a: Audit, b: Audit, out: OptionalFolder = None, redact: bool = False, pdf: bool = False) -> None:
    """Compare the audits of two models: what did the same attacks recover of the same people from A and from B?

    Writes OUT/compare.html, which shows the reconstructions from both side by side, and OUT/compare.json. For every
    metric and attack that both audits have, they hold the values of A and B and the difference B - A with a 95 %
    interval. Nothing is measured again. Audits of other images, or without a common judge or attack, are refused.

    Example: trapmid compare runs/plain runs/protected

    Example: trapmid compare runs/demo/models/none runs/demo/models/onepass+negls

    Args:
        a: a run folder, or one model of it: RUN/models/NAME with all seeds, RUN/models/NAME-sSEED with one.
        b: the other one, of the same run or of another one.
        out: folder for the two files. Default: the run folder of A.
        redact: leave private images and the names of identities out of the page.
        pdf: write OUT/compare.pdf as well, which Chromium or Google Chrome prints.
    """
    check_browser(pdf)
    with loading():
        from trapmid.comparison import compare as compared
    found = compared(a, b, out=out, redact=redact)
    print_comparison(found)
    print_page("Comparison", lambda: found.page, pdf=pdf)


def print_comparison(found: "Comparison") -> None:
    """What is shown, then a table by the first judge for each pair of models."""
    from trapmid.comparison.tables import shown_in, subject, table
    from trapmid.comparison.verdict import findings

    match = found.match
    for models, titles, finding in zip(match.models, match.titles(), findings(match, found.table), strict=True):
        console.print(f"{finding.headline} {' '.join(finding.sentences)}")
        rows = shown_in(match, [one for one in found.table if (one.model_a, one.model_b) == models], "console")
        shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for title in ("metric", "attack"):
            shown.add_column(title, no_wrap=True)
        for title in ("B \u2212 A", f"A: {titles[0]}", f"B: {titles[1]}", "interval of B \u2212 A"):
            shown.add_column(title, justify="right")
        for one, row in zip(rows, table(match, rows, titles).rows, strict=True):
            cells = (f"{cell.value} ({cell.interval})" if cell.interval else cell.value for cell in row.cells)
            shown.add_row(row.head, subject(match, one), *cells)
        console.print(shown)
    for note in match.notes:
        console.print(note)
