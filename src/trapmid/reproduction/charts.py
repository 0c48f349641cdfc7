"""Charts of the paper (Liu & Chen, NeurIPS 2024, Figures 3, 5 and 6): our results beside the published ones, as SVG."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trapmid.files import replacing
from trapmid.metrics.units import Unit
from trapmid.report.drawing import WIDTH, style
from trapmid.report.palette import LIGHT
from trapmid.reproduction.experiment import Bars, Curve, column
from trapmid.reproduction.results import Entry, Reproduction
from trapmid.reproduction.write import Picture, attack_title, number

FILE = "chart.svg"
INK, FAINT, GRID, PAPER = LIGHT["ink"], LIGHT["muted"], LIGHT["line"], "#8f98a3"
OURS, THEIRS = "here", "in the paper"
HERE = tuple(LIGHT[f"series-{number}"] for number in (1, 0, 3, 4, 2))
"""Colors of our own results, one per attack in order. They are legible on the white background of the chart."""


def draw(chart: Bars | Curve, made: Reproduction, folder: Path) -> tuple[Picture, ...]:
    """Write the chart of a finished table. Values that are missing here or in the paper are left out.

    Args:
        chart: the kind of chart and its columns.
        made: the table.
        folder: the folder to write the file to.

    Returns:
        The picture with its description. The SVG's own description lists every number. The tuple is empty if there is
            nothing to draw.
    """
    panels = {
        metric: [
            entry
            for entry in made.entries
            if entry.metric == metric and not (math.isnan(entry.value) and _published(entry) is None)
        ]
        for metric in chart.metrics
    }
    panels = {metric: entries for metric, entries in panels.items() if entries}
    if not panels:
        return ()
    titles = [column(metric).title for metric in panels]
    said = [f"{column(metric).title}: {'; '.join(map(_words, entries))}" for metric, entries in panels.items()]
    with mpl.rc_context(style(INK, FAINT, GRID)):
        match chart:
            case Bars():
                figure = _bars(panels)
            case Curve():
                figure = _curves(panels, chart)
        _legend(figure)
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"Title": made.title, "Description": ". ".join(said), "Date": None, "Creator": None}
        with replacing(folder / FILE) as stream:
            figure.savefig(stream, format="svg", facecolor="white", metadata=metadata)
    about = f"{', '.join(titles)}: here with 95 % intervals, and in the paper where that is known"
    return (Picture(FILE, about),)


def _bars(panels: dict[str, list[Entry]]) -> Figure:
    """Draw a filled bar for our result and a hollow bar for the published one on each line, one panel per metric."""
    counts = [len(entries) for entries in panels.values()]
    figure = Figure(figsize=(WIDTH, 0.6 + 0.42 * (sum(counts) + len(counts))), layout="constrained")
    grid = figure.subplots(len(counts), squeeze=False, height_ratios=counts)
    for axes, (metric, entries) in zip(grid[:, 0], panels.items(), strict=True):
        for place, entry in enumerate(entries):
            if not math.isnan(entry.value):
                axes.barh(place - 0.2, _value(entry), height=0.36, color=HERE[0], label=OURS)
                axes.errorbar(_value(entry), place - 0.2, xerr=_whiskers([entry]), color=INK, capsize=2, linewidth=1)
            if (published := _published(entry)) is not None:
                axes.barh(
                    place + 0.2, published, height=0.36, color="white", edgecolor=PAPER, hatch="////", label=THEIRS
                )
        axes.set_yticks(range(len(entries)), _labels(entries))
        axes.set(xlabel=column(metric).title, ylim=(len(entries) - 0.4, -0.6))
        if column(metric).metric.unit is Unit.SHARE:
            axes.set_xlim(0, 101)
        axes.tick_params(length=0)
        axes.grid(visible=False, axis="y")
    return figure


def _curves(panels: dict[str, list[Entry]], chart: Curve) -> Figure:
    """Draw a solid line for our results and a dashed one for the published ones per attack, one panel per metric."""
    figure = Figure(figsize=(WIDTH, 0.8 + 1.9 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False, sharex=True)
    for axes, (metric, entries) in zip(grid[:, 0], panels.items(), strict=True):
        attacks = list(dict.fromkeys(entry.attack for entry in entries))
        for colour, attack in zip(HERE, attacks, strict=False):
            of = f"{attack_title(attack)} " if len(attacks) > 1 else ""
            _line(axes, [entry for entry in entries if entry.attack == attack], chart.at, colour, of)
        axes.set_ylabel(column(metric).title)
        if column(metric).metric.unit is Unit.SHARE:
            axes.set_ylim(-3, 103)
        axes.set_xticks(sorted(chart.at.values()), [f"{place:g}" for place in sorted(chart.at.values())])
        axes.tick_params(length=0, labelcolor=FAINT)
    grid[-1, 0].set_xlabel(chart.along)
    return figure


def _line(axes: Axes, entries: Sequence[Entry], at: Mapping[str, float], colour: str, of: str) -> None:
    ours = [entry for entry in entries if not math.isnan(entry.value)]
    places, values = [at[entry.row] for entry in ours], [_value(entry) for entry in ours]
    if ours:
        axes.errorbar(places, values, yerr=_whiskers(ours), fmt="o-", color=colour, capsize=3, label=of + OURS)
    theirs = [(at[entry.row], published) for entry in entries if (published := _published(entry)) is not None]
    if theirs:
        places, values = [place for place, _ in theirs], [value for _, value in theirs]
        axes.plot(places, values, "s--", color=colour if of else PAPER, markerfacecolor="white", label=of + THEIRS)


def _legend(figure: Figure) -> None:
    """Draw one legend for all panels, above them. Our own results come first."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    order = sorted(named, key=lambda name: name.endswith(THEIRS))
    handles = [named[name] for name in order]
    figure.legend(handles, order, loc="outside upper left", ncols=2, fontsize=8)


def _value(entry: Entry) -> float:
    return entry.value * column(entry.metric).metric.unit.factor


def _published(entry: Entry) -> float | None:
    """The published value; None if it is unknown or only a bound is known."""
    known = entry.published
    return known.value if known is not None and known.is_a_number else None


def _whiskers(entries: Sequence[Entry]) -> tuple[list[float], list[float]]:
    """The lengths of the error bars below and above, in the paper's unit; 0 if there is no interval."""

    def length(entry: Entry, end: float) -> float:
        return 0.0 if math.isnan(end) else abs(end - entry.value) * column(entry.metric).metric.unit.factor

    return [length(entry, entry.low) for entry in entries], [length(entry, entry.high) for entry in entries]


def _labels(entries: Sequence[Entry]) -> list[str]:
    """The labels of the lines: the part in which they differ, which is the defense, the attack or both."""
    titles, attacks = {entry.title for entry in entries}, {entry.attack for entry in entries}
    return [
        "\n".join(
            ([entry.title] if len(titles) > 1 or len(attacks) == 1 else [])
            + ([attack_title(entry.attack)] if len(attacks) > 1 else [])
        )
        for entry in entries
    ]


def _words(entry: Entry) -> str:
    published = "" if entry.published is None else f", in the paper {entry.published.text}"
    return f"{entry.title}, {attack_title(entry.attack)}: here {number(entry) or 'not measured'}{published}"
