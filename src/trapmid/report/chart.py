"""What a figure is: its numbers, its title and words, and a drawing that is made from them for the page or for a file of its own."""

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

# matplotlib knows no CSS: these stand for the palette's colours until the SVG is written.
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
        name: of its files and the ids in its drawing; unique in a report.
        title: what it shows.
        section: of the page.
        said: its numbers in words, for who does not see it.
        rows: its numbers as they are drawn; rows may lack columns.
        raw: the drawing as matplotlib writes it, in colours that stand for the palette's.
    """

    name: str
    title: str
    section: Section
    said: tuple[str, ...]
    rows: Rows
    raw: str

    def inline(self) -> str:
        """As an element of the page: its colours, its font, as wide as there is room."""
        head, body = self._parts()
        head = re.sub(r' (?:width|height|version|xmlns(?::xlink)?)="[^"]*"', "", head)
        for name, color in _STANDS_FOR.items():
            body = body.replace(color, f"var(--{name})")
        return f"{head}{self._label()}{body.replace('xlink:href', 'href')}"

    def svg(self) -> str:
        """As a file of its own: real colours on a ground, light or dark as the viewer prefers."""
        head, body = self._parts()
        for name, color in _STANDS_FOR.items():
            body = body.replace(color, LIGHT[name])
        style = f"<style>svg {{ font-family: system-ui, sans-serif; stroke-linejoin: round; }} {darkening()}</style>"
        ground = f'<rect width="100%" height="100%" style="fill: {LIGHT["card"]}"/>'
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{self._label()}{style}{ground}{body}\n'

    def csv(self) -> str:
        """What is drawn, one row a mark."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def _parts(self) -> tuple[str, str]:
        """The opening tag with a role, and all behind it; ids do not clash with another figure's."""
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
    """An empty figure; drawn on within `mpl.rc_context(STYLE)`."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def written(figure: Figure) -> str:
    """The figure as SVG text without a date."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return buffer.getvalue()


def line(axes: Axes, across: Sequence[int | float], up: Sequence[int | float], place: int, label: str) -> None:
    """The line of the series at `place`: told apart by its dashes too, in grey print or by who does not see these hues."""
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
    """A title as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
