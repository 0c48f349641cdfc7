"""Compares the audits of two models, and writes what it finds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from trapmid.audit.loading import load_private_again
from trapmid.comparison.differences import Difference, differences
from trapmid.comparison.matching import Match, match
from trapmid.comparison.page import render
from trapmid.comparison.sides import Side, open_side
from trapmid.files import write_atomic
from trapmid.report import AuditReport
from trapmid.report.contents import GalleryRow, Reconstruction
from trapmid.report.people import gallery_rows, reconstructions
from trapmid.report.showing import Shown

PAGE, TABLE = "compare.html", "compare.json"


@final
@dataclass(frozen=True)
class Comparison(Shown):
    """What a comparison of two audits found.

    Attributes:
        page: the HTML file.
        table: a row for every metric, attack and judge that both audits have, as in compare.json.
        match: what was compared, and what was left out.
    """

    page: Path
    table: tuple[Difference, ...]
    match: Match


def compare(
    a: Path | str | AuditReport, b: Path | str | AuditReport, *, out: Path | str | None = None, redact: bool = False
) -> Comparison:
    """Compare two audits of the same images, from what their run folders hold; nothing is measured again.

    Args:
        a: a run folder, one model of it (RUN/models/NAME, or RUN/models/NAME-sSEED for one seed), or the report of
            `audit_model`.
        b: the other one. Two models may be of the same run.
        out: the folder for compare.html and compare.json; by default the run folder of `a`.
        redact: leave private images and the names of identities out of the page.

    Raises:
        UserError: one of them is no measured audit, or the two cannot be compared; the text says why.
    """
    sides = [open_side(one.folder if isinstance(one, AuditReport) else Path(one)) for one in (a, b)]
    both = match(*sides)
    found = tuple(differences(both))
    page = render(both, found, _gallery(both, redact=redact), redact=redact)
    folder = sides[0].folders.root if out is None else Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE, json.dumps(_content(both, found), indent=1) + "\n")
    return Comparison(write_atomic(folder / PAGE, page), found, both)


def _content(both: Match, found: Sequence[Difference]) -> dict[str, Any]:
    return {
        "a": _side(both.a),
        "b": _side(both.b),
        "identities": len(both.a.identities),
        "judges": [judge.name for judge in both.judges],
        "attacks": [attack.name for attack in both.attacks],
        "seeds": [list(pair) for pair in both.seeds],
        "notes": list(both.notes),
        "differences": [one.model_dump() for one in found],
    }


def _side(side: Side) -> dict[str, Any]:
    return {"place": str(side.place), "measured": side.measured.created, "versions": side.measured.versions}


def _gallery(both: Match, *, redact: bool) -> list[GalleryRow]:
    """The reconstructions of the first attack and the first seed that both have, beside each other."""
    attack, judge, seeds = both.attacks[0].name, both.judges[0].name, both.seeds[0]
    columns: dict[str, Mapping[int, Sequence[Reconstruction]]] = {}
    for models, titles in zip(both.models, both.titles(), strict=True):
        for side, model, seed, title in zip((both.a, both.b), models, seeds, titles, strict=True):
            if side.folders.attack(attack, model, seed).exists():
                columns[title] = reconstructions(side.folders, attack, model, seed, judge)
    train = None if redact else load_private_again(both.a.recipe, both.a.folders.root).part("train")
    return gallery_rows(train, len(both.a.identities), columns)
