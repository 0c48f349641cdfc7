"""The figures of a report, as inline SVG that follows the page's colours and speaks to screen readers."""

import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from trapmid.detection.evaluation import ADVERSARIAL, PUBLIC
from trapmid.detection.separation import auc, roc
from trapmid.metrics.scores import Score
from trapmid.report.contents import CEILING, UNPROTECTED, Contents, Curves, Detection
from trapmid.report.drawing import WIDTH, style
from trapmid.report.verdict import percent

MAX_SERIES = 6

# matplotlib knows no CSS: these stand for the page's colours until the SVG text is written.
_INK, _FAINT, _GRID = "#010101", "#020202", "#030303"
_SERIES = tuple(f"#0500{number:02x}" for number in range(MAX_SERIES))
_CSS = {
    _INK: "var(--ink)",
    _FAINT: "var(--muted)",
    _GRID: "var(--line)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES)},
}
_STYLE = style(_INK, _FAINT, _GRID)
_SHARE = FuncFormatter(lambda value, _: f"{100 * value:.0f}\u00a0%")


def accuracy_bars(contents: Contents) -> str:
    """Attack accuracy of every attack on every defense, with intervals, between the floor and the ceiling."""
    bars = _attacked(contents)
    if not bars:
        return ""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 1.35 + 0.42 * len(bars)), layout="constrained")
        axes = figure.subplots()
        for place, (_, defense, score) in enumerate(bars):
            axes.barh(place, score.value, height=0.58, color=_color(contents, defense))
            axes.errorbar(score.value, place, xerr=_whiskers(score), color=_INK, capsize=3, linewidth=1)
            label = axes.annotate(percent(score.value, 1), (score.high, place), (6, 0), textcoords="offset points")
            label.set(va="center", color=_INK)
        axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
        axes.set(xlim=(0, 1.12), xlabel="Attack accuracy (AA-1); lower is more private", ylim=(len(bars) - 0.5, -0.95))
        axes.xaxis.set_major_formatter(_SHARE)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.tick_params(length=0)
        axes.grid(visible=False, axis="y")
        lines = []
        floor, ceiling = contents.floor("attack_accuracy_1"), contents.ceiling("attack_accuracy_1")
        for text, row, style in (("floor", floor, ":"), ("ceiling", ceiling, "--")):
            if row is not None:
                axes.axvline(row.value, color=_FAINT, linestyle=style, linewidth=1.2)
                mark = axes.annotate(text, (row.value, -0.95), (0, 3), textcoords="offset points")
                mark.set(ha="left" if row.value < 0.05 else "center", color=_FAINT, annotation_clip=False)
                lines.append(f"{text} {percent(row.value, 1)}")
        said = [
            f"{' '.join(name.split())}: {percent(row.value, 1)}, {percent(row.low, 1)} to {percent(row.high, 1)}"
            for name, _, row in bars
        ]
        return _svg(figure, "accuracy", "Attack accuracy with 95 % intervals", [*said, *lines])


def privacy_utility(contents: Contents) -> str:
    """Clean accuracy against what the strongest attack gets: the upper left corner is where a defense wants to be."""
    points = []
    for defense in contents.defenses:
        clean, best = contents.score(defense.name, "-", "clean_accuracy"), contents.strongest(defense.name)
        if clean is not None and best is not None:
            points.append((defense, clean, best[1]))
    if len(points) < 2:
        return ""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        for defense, clean, attacked in points:
            color = _color(contents, defense.name)
            place, right = (attacked.value, clean.value), attacked.value > 0.6
            axes.errorbar(*place, xerr=_whiskers(attacked), yerr=_whiskers(clean), fmt="o", color=color, markersize=7)
            label = axes.annotate(defense.title, place, (-8 if right else 8, 8), textcoords="offset points")
            label.set(ha="right" if right else "left", color=_INK)
        floor = contents.floor("attack_accuracy_1")
        if floor is not None:
            axes.axvline(floor.value, color=_FAINT, linestyle=":", linewidth=1.2)
        axes.set(xlim=(-0.02, 1.02), xlabel="Attack accuracy (AA-1): left is more private")
        axes.set(ylim=(0, 1.05), ylabel="Clean accuracy: up is more useful")
        axes.xaxis.set_major_formatter(_SHARE)
        axes.yaxis.set_major_formatter(_SHARE)
        axes.tick_params(length=0, labelcolor=_FAINT)
        said = [
            f"{defense.title}: clean accuracy {percent(clean.value, 1)}, attack accuracy {percent(attacked.value, 1)}"
            for defense, clean, attacked in points
        ]
        return _svg(figure, "tradeoff", "Privacy against usefulness", said)


def training_curves(curves: Curves, number: int) -> str:
    """One cell's log: losses on the left, accuracies and the trapdoor's success on the right."""
    keys = dict.fromkeys(key for row in curves.rows for key in row if key != curves.x)
    losses = [key for key in keys if "loss" in key][:MAX_SERIES]
    shares = [key for key in keys if key not in losses and ("accuracy" in key or "success" in key)][:MAX_SERIES]
    panels = [(named, those) for named, those in (("Loss", losses), ("Share", shares)) if those]
    if not panels:
        return ""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 2.15 * len(panels) + 0.3), layout="constrained")
        said = []
        grid = figure.subplots(len(panels), squeeze=False, sharex=True)
        for axes, (named, keys_here) in zip(grid[:, 0], panels, strict=True):
            for place, key in enumerate(keys_here):
                rows = [(row[curves.x], row[key]) for row in curves.rows if curves.x in row and key in row]
                _line(axes, rows, place, key)
                if rows:
                    said.append(f"{_words(key)}: from {rows[0][1]:.3g} to {rows[-1][1]:.3g}")
            axes.set_ylabel(named)
            axes.tick_params(length=0, labelcolor=_FAINT)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            if named == "Share":
                axes.set_ylim(-0.03, 1.05)
                axes.yaxis.set_major_formatter(_SHARE)
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8, handlelength=1.6, borderpad=0.1)
        axes.set_xlabel(curves.x)
        return _svg(figure, f"curves-{number}", f"Training log: {curves.cell}", said)


def detection_histograms(detection: Detection, number: int) -> str:
    """How the scores of every set are distributed, one above the other on one scale, and the threshold (Figures 3 and 7)."""
    everything = np.concatenate([np.asarray(scores) for scores in detection.scores.values()])
    edges = np.linspace(float(everything.min()), float(everything.max()) + 1e-6, 41)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 0.6 + 0.75 * len(detection.scores)), layout="constrained")
        said = []
        grid = figure.subplots(len(detection.scores), squeeze=False, sharex=True)
        for place, (axes, (name, scores)) in enumerate(zip(grid[:, 0], detection.scores.items(), strict=True)):
            heights = np.histogram(scores, edges)[0] / len(scores)
            axes.stairs(heights, edges, fill=True, color=_SERIES[place % MAX_SERIES])
            title = axes.annotate(detection.titles[name], (0, 1), (2, -2), "axes fraction", "offset points")
            title.set(va="top", color=_INK)
            axes.set(yticks=[])
            axes.tick_params(length=0, labelcolor=_FAINT)
            line = f"{detection.titles[name]}: mean {float(np.mean(scores)):.2f}"
            if detection.threshold is not None:
                axes.axvline(detection.threshold, color=_FAINT, linestyle="--", linewidth=1.2)
                line += f", {percent(float(np.mean(np.asarray(scores) > detection.threshold)), 1)} above the threshold"
            said.append(line)
        grid[-1, 0].set_xlabel("Cosine with the signature of the predicted class; dashed: threshold")
        return _svg(figure, f"detection-{number}", f"Detection scores: {detection.cell}", said)


def detection_roc(detection: Detection, number: int) -> str:
    """The ROC curve of every recovered set against public images, of adversarial sets against clean ones."""
    curves = [
        (name, CEILING if name in ADVERSARIAL else PUBLIC) for name in detection.scores if name not in (CEILING, PUBLIC)
    ]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        said = []
        for place, (name, against) in enumerate(curves):
            positives, negatives = (torch.tensor(detection.scores[key]) for key in (name, against))
            rates, found = roc(positives, negatives)
            _line(
                axes, list(zip(rates.tolist(), found.tolist(), strict=True)), place % MAX_SERIES, detection.titles[name]
            )
            said.append(f"{detection.titles[name]}: area {percent(auc(positives, negatives).value, 1)}")
        axes.plot([0, 1], [0, 1], color=_FAINT, linestyle=":", linewidth=1)
        axes.set(
            xlim=(-0.01, 1.01), xlabel="Clean images flagged", ylim=(-0.01, 1.01), ylabel="Recovered images flagged"
        )
        axes.xaxis.set_major_formatter(_SHARE)
        axes.yaxis.set_major_formatter(_SHARE)
        axes.tick_params(length=0, labelcolor=_FAINT)
        axes.legend(loc="lower right", fontsize=8)
        return _svg(figure, f"roc-{number}", f"Detection, ROC: {detection.cell}", said)


def _line(axes: Axes, rows: Sequence[tuple[int | float, int | float]], place: int, key: str) -> None:
    axes.plot(
        [row[0] for row in rows],
        [row[1] for row in rows],
        color=_SERIES[place],
        linewidth=1.6,
        # Not by colour alone: printed in grey, or seen by someone who does not tell these hues apart.
        linestyle=("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))[place],
        marker="o" if len(rows) == 1 else "",
        markersize=4,
        label=_words(key),
    )


def _whiskers(score: Score) -> list[list[float]]:
    return [[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]]


def _attacked(contents: Contents) -> list[tuple[str, str, Score]]:
    several = len(contents.attacks) > 1
    return [
        (f"{defense.title}\n{attack.title}" if several else defense.title, defense.name, score)
        for defense in contents.defenses
        for attack in contents.attacks
        if (score := contents.score(defense.name, attack.name, "attack_accuracy_1")) is not None
    ]


def _color(contents: Contents, kind: str) -> str:
    if kind == UNPROTECTED:
        return _SERIES[0]
    others = [defense.name for defense in contents.defenses if defense.name != UNPROTECTED]
    return _SERIES[1 + others.index(kind) % (MAX_SERIES - 1)]


def _words(key: str) -> str:
    return key.replace("_", " ").replace("/", " ")


def _svg(figure: Figure, name: str, title: str, said: Iterable[str]) -> str:
    """The figure's SVG: the page's colours, ids that do not clash with another figure's, a title and its numbers."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for color, css in _CSS.items():
        text = text.replace(color, css)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    # The page's own font, and no rule that would reach out of the figure into the page.
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    head = re.sub(r' (width|height|version)="[^"]*"', "", head)
    head = re.sub(r' xmlns(:xlink)?="[^"]*"', "", head)
    body = body.replace("xlink:href", "href")
    label = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape("; ".join(said))}.</desc>'
    return f'{head} role="img" aria-labelledby="{name}-title {name}-desc">{label}{body}'
