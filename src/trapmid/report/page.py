"""The page: contents in, one self-contained HTML file out."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from trapmid.report import figures, tables
from trapmid.report.checks import failed
from trapmid.report.contents import Contents, GalleryRow, Picture, Reconstruction
from trapmid.report.verdict import cannot_show, judge

SHOWN_AT_ONCE = 24
"""Identities of the gallery before the rest waits behind a fold, so that a thousand of them open quickly."""

_THUMBNAIL = 128


@dataclass(frozen=True)
class _Shot:
    source: str
    alt: str
    mark: str
    pixelated: bool


@dataclass(frozen=True)
class _Column:
    title: str
    shots: tuple[_Shot, ...]
    note: str = ""


@dataclass(frozen=True)
class _Person:
    name: str
    columns: tuple[_Column, ...]


def render(contents: Contents, *, redact: bool = False) -> str:
    """The report as one HTML file: no network, no script.

    Args:
        contents: what to report.
        redact: leave private images and the names of identities out. Reconstructions stay: they are the finding.
    """
    people = [_person(row, number, contents.data.subject, redact) for number, row in enumerate(contents.gallery, 1)]
    charts = [
        ("Attack accuracy with 95\u00a0% intervals", figures.accuracy_bars(contents)),
        ("Privacy against usefulness, strongest attack", figures.privacy_utility(contents)),
    ]
    logs = [figures.training_curves(curves, number) for number, curves in enumerate(contents.curves)]
    detections = [
        (f"{what}, {detection.cell}", svg)
        for number, detection in enumerate(contents.detections)
        for what, svg in (
            ("Scores", figures.detection_histograms(detection, number)),
            ("ROC", figures.detection_roc(detection, number)),
        )
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.j2").render(
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
        redacted=redact or any(row.private is None for row in contents.gallery),
        nameless=redact,
        charts=[(title, Markup(svg)) for title, svg in charts if svg],  # noqa: S704 - our own SVG; its texts are escaped there
        logs=[
            (curves.cell, Markup(svg))  # noqa: S704
            for curves, svg in zip(contents.curves, logs, strict=True)
            if svg
        ],
        detection=tables.detection_table(contents),
        detections=[(title, Markup(svg)) for title, svg in detections],  # noqa: S704
        config=json.dumps(contents.config, indent=2, default=str, ensure_ascii=False),
        accesses=sorted({attack.access for attack in contents.attacks}, reverse=True),
    )


def _person(row: GalleryRow, number: int, subject: str, redact: bool) -> _Person:
    name = f"Identity {number}" if redact else row.identity
    columns = []
    if not redact and row.private is not None:
        shots = tuple(
            _shot(picture, f"Private {subject} {place} of {name}", None) for place, picture in enumerate(row.private, 1)
        )
        columns.append(_Column("Private", shots))
    columns += [_found(title, found, name, subject) for title, found in row.columns.items()]
    return _Person(name, tuple(columns))


def _found(title: str, found: Sequence[Reconstruction], name: str, subject: str) -> _Column:
    shots = []
    for place, one in enumerate(found, 1):
        said = {True: ", recognised by the judge", False: ", not recognised by the judge", None: ""}[one.recognised]
        shots.append(_shot(one.picture, f"{title}: {subject} {place} reconstructed for {name}{said}", one.recognised))
    asked = [one.recognised for one in found if one.recognised is not None]
    return _Column(title, tuple(shots), f"{sum(asked)} of {len(asked)} recognised" if asked else "")


def _shot(picture: Picture, alt: str, recognised: bool | None) -> _Shot:
    mark = {True: "hit", False: "miss", None: ""}[recognised]
    return _Shot(_png(picture), alt, mark, pixelated=max(picture.shape[:2]) <= _THUMBNAIL)


def _png(picture: Picture) -> str:
    """The picture as a PNG data address, no larger than a thumbnail needs; PNG files of Pillow carry no date."""
    image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture))
    image.thumbnail((2 * _THUMBNAIL, 2 * _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
