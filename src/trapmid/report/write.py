"""Writes a report as files: the page, and beside it every figure as SVG with its numbers as CSV."""

from collections.abc import Sequence
from pathlib import Path

from trapmid.files import replacing, write_atomic
from trapmid.report.chart import Chart
from trapmid.report.collect import collect
from trapmid.report.contents import GalleryRow
from trapmid.report.figures import draw
from trapmid.report.page import render
from trapmid.report.sheet import gallery_sheet


def write_report(out: str | Path, *, redact: bool = False, to: str | Path | None = None) -> Path:
    """Write the report about the audit in the folder `out`, by default to its report.html, and return the page's path.

    The folder beside the page (report-figures for report.html) gets each figure as NAME.svg, its numbers as NAME.csv,
    and pictures.png: up to ten identities as columns, each with a private image on top and a reconstruction for each
    defense below. `redact` leaves out private images and the names of identities. `to` is the file to write instead.

    Raises:
        UserError: `out` holds no measured audit, or the private images have changed since the audit. With `redact`,
            private images are not needed.
    """
    out = Path(out)
    contents, file = collect(out, redact=redact), out / "report.html" if to is None else Path(to)
    charts, folder = draw(contents), file.with_name(f"{file.stem}-figures")
    page = render(contents, charts, redact=redact, folder=folder.name)
    write_figures(charts, folder)
    write_pictures(contents.gallery, folder, redact=redact)
    write_atomic(file, page)
    return file


def write_figures(charts: Sequence[Chart], folder: Path) -> None:
    """Write each chart as NAME.svg and NAME.csv, and delete figures of an earlier report that no longer exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for chart in charts:
        write_atomic(folder / f"{chart.name}.svg", chart.svg())
        write_atomic(folder / f"{chart.name}.csv", chart.csv())
    names = {chart.name for chart in charts}
    for file in folder.iterdir():
        if file.suffix in (".svg", ".csv") and file.stem not in names:
            file.unlink()


def write_pictures(gallery: Sequence[GalleryRow], folder: Path, *, redact: bool) -> None:
    """Write `pictures.png`. If there is nothing to show, delete an earlier one, which may hold private images."""
    picture, file = gallery_sheet(gallery, redact=redact), folder / "pictures.png"
    if picture is None:
        file.unlink(missing_ok=True)
        return
    with replacing(file) as stream:
        picture.save(stream, format="PNG")
