"""The page of a comparison: one self-contained HTML file that looks as a report does."""

from collections.abc import Sequence
from pathlib import Path

from trapmid.comparison.differences import Difference
from trapmid.comparison.matching import Match
from trapmid.comparison.tables import shown_in, table
from trapmid.comparison.verdict import findings
from trapmid.report.contents import GalleryRow
from trapmid.report.gallery import person
from trapmid.report.page import SHOWN_AT_ONCE, environment


def render(match: Match, found: Sequence[Difference], gallery: Sequence[GalleryRow], *, redact: bool = False) -> str:
    """The comparison as the text of one HTML file, without network access or scripts.

    Args:
        match: what is compared.
        found: the differences.
        gallery: the same people on both sides.
        redact: leave out private images and the names of identities.
    """
    pairs = []
    for models, titles, finding in zip(match.models, match.titles(), findings(match, found), strict=True):
        rows = [one for one in found if (one.model_a, one.model_b) == models]
        main = table(match, shown_in(match, rows, "main"), titles)
        pairs.append({"titles": titles, "finding": finding, "main": main, "every": table(match, rows, titles)})
    template = environment(Path(__file__).parent).get_template("comparison.html.j2")
    return template.render(
        match=match,
        pairs=pairs,
        attacks=[one.heading for one in match.attacks if one.name in {row.attack for row in found}],
        people=[person(row, number, "face", redact=redact) for number, row in enumerate(gallery, 1)],
        shown_at_once=SHOWN_AT_ONCE,
        redacted=redact,
    )
