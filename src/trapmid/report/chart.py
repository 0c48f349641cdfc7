"""A figure: its numbers, its title and description, and its drawing, both for the page and for a separate file."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from trapmid.report.drawing import WIDTH, style
from trapmid.report.palette import DRAWN_WITH, LIGHT, SERIES, darkening

# matplotlib does not support CSS variables. These colours are placeholders until the SVG text is written.
_STANDS_FOR = {name: f"#0500{number:02x}" for number, name in enumerate(DRAWN_WITH)}
INK, FAINT, GRID = (_STANDS_FOR[name] for name in ("ink", "muted", "line"))
HUES = tuple(_STANDS_FOR[f"series-{number}"] for number in range(SERIES))
STYLE = style(INK, FAINT, GRID)
SHARE = FuncFormatter(lambda value, _: f"{100 * value:.0f}\u00a0%")

Section: TypeAlias = Literal["results", "logs", "detection"]
Rows: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure.

    Attributes:
        name: the name of its files and the prefix of the ids in its drawing; unique in a report.
        title: what it shows.
        section: the section of the page that it belongs to.
        said: its numbers in words, for screen readers.
        rows: its numbers as they are drawn; a row may lack columns.
        raw: the SVG text as matplotlib writes it, in placeholder colours.
    """

    name: str
    title: str
    section: Section
    said: tuple[str, ...]
    rows: Rows
    raw: str

    def inline(self) -> str:
        """The SVG element for the page, with the colours and font of the page and the full width."""
        head, body = self._parts()
        head = re.sub(r' (?:width|height|version|xmlns(?::xlink)?)="[^"]*"', "", head)
        for name, color in _STANDS_FOR.items():
            body = body.replace(color, f"var(--{name})")
        return f"{head}{self._label()}{body.replace('xlink:href', 'href')}"

    def svg(self) -> str:
        """The text of a separate SVG file, in light or dark colours as the viewer prefers."""
        head, body = self._parts()
        for name, color in _STANDS_FOR.items():
            body = body.replace(color, LIGHT[name])
        style = f"<style>svg {{ font-family: system-ui, sans-serif; stroke-linejoin: round; }} {darkening()}</style>"
        ground = f'<rect width="100%" height="100%" style="fill: {LIGHT["card"]}"/>'
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{self._label()}{style}{ground}{body}\n'

    def csv(self) -> str:
        """The numbers as CSV, one row for each bar or point."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def _parts(self) -> tuple[str, str]:
        """The opening tag, with a role, and the rest. All ids get a prefix, so that figures can share a page."""
        text = self.raw[self.raw.index("<svg") :].strip()
        text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
        text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", text)
        # The font of where it is shown, not matplotlib's.
        text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
        text = re.sub(r" font-family: [^;\"]*;", "", text)
        head, body = text.split(">", 1)
        return f'{head} role="img" aria-labelledby="{self.name}-title {self.name}-desc">', body

    def _label(self) -> str:
        words = escape("; ".join(self.said))
        return f'<title id="{self.name}-title">{escape(self.title)}</title><desc id="{self.name}-desc">{words}.</desc>'


def canvas(height: int | float) -> Figure:
    """An empty figure of this height in inches. Draw on it within `mpl.rc_context(STYLE)`."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def written(figure: Figure) -> str:
    """The figure as SVG text without a date, so that equal figures give equal text."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return buffer.getvalue()


def line(axes: Axes, across: Sequence[int | float], up: Sequence[int | float], place: int, label: str) -> None:
    """Draw the line of series number `place`. Lines differ in dashes as well as colour, for grey print."""
    axes.plot(
        across,
        up,
        color=HUES[place % SERIES],
        linewidth=1.6,
        linestyle=("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))[place % SERIES],
        marker="o" if len(across) == 1 else "",
        markersize=4,
        label=label,
    )


def slug(text: str) -> str:
    """A title in lower-case letters, digits and hyphens, at most 60 characters, as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
