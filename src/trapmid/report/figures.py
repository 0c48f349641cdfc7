"""The figures of attack results: accuracies with intervals, privacy against usefulness, ablations."""

import math
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes

from trapmid.metrics.metric import AnyMetric
from trapmid.metrics.of_models import CLEAN_ACCURACY
from trapmid.metrics.recognition import AA1
from trapmid.metrics.scores import NOT_APPLICABLE, Score
from trapmid.metrics.units import percent
from trapmid.report.chart import FAINT, HUES, INK, SHARE, STYLE, Chart, canvas, line, slug, written
from trapmid.report.contents import UNPROTECTED, Ablation, Contents
from trapmid.report.labels import spread_labels
from trapmid.report.logs import detection_histograms, detection_roc, training_curves
from trapmid.report.palette import SERIES

MARKS = "os^Dv"
"""Markers of a scatter plot. The first six models get the first marker, the next six the second, and so on."""

PlotRow: TypeAlias = dict[str, Any]
"""The numbers of one bar or point, by column of the figure's CSV file."""


def draw(contents: Contents) -> list[Chart]:
    """Every figure for which there are numbers, in the order of the page."""
    drawn = [accuracy_bars(contents), privacy_utility(contents)]
    drawn += [ablation_curve(contents, one, number) for number, one in enumerate(contents.ablations, 1)]
    drawn += [training_curves(one, number) for number, one in enumerate(contents.curves, 1)]
    for number, detection in enumerate(contents.detections, 1):
        drawn += [detection_histograms(detection, number), detection_roc(detection, number)]
    return [chart for chart in drawn if chart is not None]


def accuracy_bars(contents: Contents) -> Chart | None:
    """Attack accuracy of every attack on every defense, with 95 % intervals, and lines at the floor and the ceiling."""
    bars: list[PlotRow] = [
        {"model": defense.title, "attack": attack.title, **_shares(AA1, score)}
        for defense in contents.defenses
        for attack in contents.attacks
        if (score := contents.score(defense.name, attack.name, AA1)) is not None
    ]
    if not bars:
        return None
    frames: list[PlotRow] = [
        {"model": text, "attack": "", **_shares(AA1, score)}
        for text, score in (("floor", contents.floor(AA1)), ("ceiling", contents.ceiling(AA1)))
        if score is not None
    ]
    colors = {defense.title: _hue(contents, defense.name) for defense in contents.defenses}
    several = len(contents.attacks) > 1
    with mpl.rc_context(STYLE):
        figure = canvas(1.35 + 0.42 * len(bars))
        axes = figure.subplots()
        for place, row in enumerate(bars):
            axes.barh(place, row[AA1.name], height=0.58, color=colors[row["model"]])
            axes.errorbar(row[AA1.name], place, xerr=_whiskers(row, AA1), color=INK, capsize=3, linewidth=1)
            ends = max(row[AA1.name], row[f"{AA1.name}_high"])
            label = axes.annotate(percent(row[AA1.name], 1), (ends, place), (6, 0), textcoords="offset points")
            label.set(va="center", color=INK)
        names = [f"{row['model']}\n{row['attack']}" if several else row["model"] for row in bars]
        axes.set_yticks(range(len(bars)), names)
        axes.set(
            xlim=(0, 1.12),
            xlabel=f"Attack accuracy ({AA1.title}); lower is more private",
            ylim=(len(bars) - 0.5, -0.95),
        )
        axes.xaxis.set_major_formatter(SHARE)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.tick_params(length=0)
        axes.grid(visible=False, axis="y")
        for row in frames:
            axes.axvline(row[AA1.name], color=FAINT, linestyle=":" if row["model"] == "floor" else "--", linewidth=1.2)
            label = axes.annotate(row["model"], (row[AA1.name], -0.95), (0, 3), textcoords="offset points")
            beside = row[AA1.name] < 0.05 or row is not min(frames, key=lambda one: one[AA1.name])
            label.set(ha="left" if beside else "right", color=FAINT, annotation_clip=False)
        raw = written(figure)
    return Chart(
        name="accuracy",
        title="Attack accuracy with 95\u00a0% intervals",
        section="results",
        said=(
            *(f"{row['model']} under {row['attack']}: {_said(row, AA1)}" for row in bars),
            *(f"{row['model']}: {percent(row[AA1.name], 1)}" for row in frames),
        ),
        rows=[*bars, *frames],
        raw=raw,
    )


def privacy_utility(contents: Contents) -> Chart | None:
    """Clean accuracy against the attack accuracy of the strongest attack. Good defenses are on the upper left."""
    rows: list[PlotRow] = []
    hues = {}
    for defense in contents.defenses:
        clean, best = contents.score(defense.name, NOT_APPLICABLE, CLEAN_ACCURACY), contents.strongest(defense.name)
        if clean is None or best is None:
            continue
        attack, attacked = best
        hues[defense.title] = _hue(contents, defense.name)
        common = {"model": defense.title, "attack": attack.title}
        mean = {**_shares(CLEAN_ACCURACY, clean), **_shares(AA1, attacked)}
        rows.append({**common, "seed": "mean" if attacked.seed is None else attacked.seed, **mean})
        single = contents.by_seed(defense.name, attack.name, AA1, attacked.judge)
        useful = contents.by_seed(defense.name, NOT_APPLICABLE, CLEAN_ACCURACY, clean.judge)
        rows += [
            {**common, "seed": seed, CLEAN_ACCURACY.name: useful[seed].value, AA1.name: single[seed].value}
            for seed in sorted(single.keys() & useful.keys())
        ]
    means = [row for row in rows if f"{AA1.name}_low" in row]
    if len(means) < 2:
        return None
    floor = contents.floor(AA1)
    with mpl.rc_context(STYLE):
        figure = canvas(3.3 if len(means) < SERIES else 4.6)
        axes = figure.subplots()
        for row in rows:
            if row not in means:
                axes.plot(
                    row[AA1.name], row[CLEAN_ACCURACY.name], ".", color=hues[row["model"]], alpha=0.55, markersize=5
                )
        for place, row in enumerate(means):
            where, hue, mark = (
                (row[AA1.name], row[CLEAN_ACCURACY.name]),
                hues[row["model"]],
                MARKS[place // SERIES % len(MARKS)],
            )
            across, up = _whiskers(row, AA1), _whiskers(row, CLEAN_ACCURACY)
            axes.errorbar(*where, xerr=across, yerr=up, fmt="none", ecolor=hue, elinewidth=0.9, alpha=0.45)
            axes.plot(*where, mark, color=hue, markersize=7)
        if floor is not None:
            axes.axvline(floor.value, color=FAINT, linestyle=":", linewidth=1.2)
        axes.margins(0.08)
        axes.set(
            xlabel=f"Attack accuracy ({AA1.title}): left is more private", ylabel="Clean accuracy: up is more useful"
        )
        axes.set(xlim=_within(axes.get_xlim()), ylim=_within(axes.get_ylim()))
        _as_shares(axes)
        spread_labels(axes, [(row["model"], row[AA1.name], row[CLEAN_ACCURACY.name]) for row in means])
        raw = written(figure)
    return Chart(
        name="tradeoff",
        title="Privacy against usefulness, strongest attack",
        section="results",
        said=tuple(
            f"{row['model']}: clean accuracy {percent(row[CLEAN_ACCURACY.name], 1)}, attack accuracy "
            f"{percent(row[AA1.name], 1)}"
            for row in means
        ),
        rows=rows,
        raw=raw,
    )


def ablation_curve(contents: Contents, ablation: Ablation, number: int) -> Chart | None:
    """Clean accuracy and what the strongest attack gets over the values of one setting."""
    measures: dict[AnyMetric, str] = {CLEAN_ACCURACY: CLEAN_ACCURACY.title, AA1: f"Attack accuracy ({AA1.title})"}
    rows: list[PlotRow] = []
    for value, name in ablation.defenses.items():
        clean, best = contents.score(name, NOT_APPLICABLE, CLEAN_ACCURACY), contents.strongest(name)
        if clean is not None and best is not None:
            measured = {**_shares(CLEAN_ACCURACY, clean), **_shares(AA1, best[1])}
            rows.append({"defense": name, ablation.setting: value, "attack": best[0].title, **measured})
    if len(rows) < 2:
        return None
    values = [float(row[ablation.setting]) for row in rows]
    floor = contents.floor(AA1)
    with mpl.rc_context(STYLE):
        figure = canvas(3)
        axes = figure.subplots()
        for place, (measure, label) in enumerate(measures.items()):
            line(axes, values, [row[measure.name] for row in rows], place, label)
            low, high = ([float(row[f"{measure.name}_{end}"]) for row in rows] for end in ("low", "high"))
            axes.fill_between(values, low, high, color=HUES[place], alpha=0.15, linewidth=0)
            axes.plot(values, [row[measure.name] for row in rows], "o", color=HUES[place], markersize=4)
        if floor is not None:
            axes.axhline(floor.value, color=FAINT, linestyle=":", linewidth=1.2)
        if min(values) > 0 and max(values) > 20 * min(values):
            axes.set_xscale("log")
        axes.set(xlabel=ablation.setting, ylim=(-0.03, 1.05))
        axes.yaxis.set_major_formatter(SHARE)
        axes.tick_params(length=0, labelcolor=FAINT)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, borderpad=0.1)
        raw = written(figure)
    return Chart(
        name=f"ablation-{number:02d}-{slug(f'{ablation.kind} {ablation.setting}')}",
        title=f"Ablation: {ablation.setting} of {ablation.kind}",
        section="results",
        said=tuple(
            f"{ablation.setting} {row[ablation.setting]:g}: "
            + ", ".join(f"{label} {_said(row, measure)}" for measure, label in measures.items())
            for row in rows
        ),
        rows=rows,
        raw=raw,
    )


def _shares(metric: AnyMetric, score: Score) -> PlotRow:
    return {metric.name: score.value, f"{metric.name}_low": score.low, f"{metric.name}_high": score.high}


def _said(row: PlotRow, metric: AnyMetric) -> str:
    value, low, high = (row[f"{metric.name}{end}"] for end in ("", "_low", "_high"))
    interval = "" if math.isnan(low) else f" ({percent(low, 1)} to {percent(high, 1)})"
    return f"{percent(value, 1)}{interval}"


def _whiskers(row: PlotRow, metric: AnyMetric) -> list[list[float]]:
    value, low, high = (row[f"{metric.name}{end}"] for end in ("", "_low", "_high"))
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _within(limits: tuple[float, float]) -> tuple[float, float]:
    """The limits of an axis, cut to the range of shares."""
    return max(limits[0], -0.03), min(limits[1], 1.05)


def _as_shares(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(SHARE)
    axes.yaxis.set_major_formatter(SHARE)
    axes.tick_params(length=0, labelcolor=FAINT)


def _hue(contents: Contents, name: str) -> str:
    if name == UNPROTECTED:
        return HUES[0]
    others = [defense.name for defense in contents.defenses if defense.name != UNPROTECTED]
    return HUES[1 + others.index(name) % (SERIES - 1)]
