"""The figures of logs and detectors: training curves, score histograms and ROC curves.

The histograms follow Figures 3 and 7 of the Trap-MID paper (Liu and Chen, NeurIPS 2024).
"""

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trapmid.detection.evaluation import ADVERSARIAL
from trapmid.metrics.scores import HELD_OUT, PUBLIC
from trapmid.metrics.separation import auc, roc
from trapmid.metrics.units import percent
from trapmid.report.chart import FAINT, HUES, INK, SHARE, STYLE, Chart, canvas, line, slug, written
from trapmid.report.contents import Curves, Detection
from trapmid.report.palette import SERIES

BINS = 40


def training_curves(curves: Curves, number: int) -> Chart | None:
    """The log of one training: losses above, accuracies and trapdoor success below; None if the log has neither."""
    keys = dict.fromkeys(key for row in curves.rows for key in row if key != curves.x)
    losses = [key for key in keys if "loss" in key][:SERIES]
    shares = [key for key in keys if key not in losses and ("accuracy" in key or "success" in key)][:SERIES]
    panels = [(named, those) for named, those in (("Loss", losses), ("Share", shares)) if those]
    drawn = [*losses, *shares]
    rows = [
        {key: row[key] for key in (curves.x, *drawn) if key in row}
        for row in curves.rows
        if curves.x in row and row.keys() & drawn
    ]
    if not rows:
        return None
    with mpl.rc_context(STYLE):
        figure = canvas(2.15 * len(panels) + 0.3)
        grid = figure.subplots(len(panels), squeeze=False, sharex=True)
        for axes, (named, keys_here) in zip(grid[:, 0], panels, strict=True):
            for place, key in enumerate(keys_here):
                those = [row for row in rows if key in row]
                line(axes, [row[curves.x] for row in those], [row[key] for row in those], place, _words(key))
            axes.set_ylabel(named)
            axes.tick_params(length=0, labelcolor=FAINT)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            if named == "Share":
                axes.set_ylim(-0.03, 1.05)
                axes.yaxis.set_major_formatter(SHARE)
            _legend_above(axes)
        axes.set_xlabel(curves.x)
        raw = written(figure)
    ends = {key: [row[key] for row in rows if key in row] for key in drawn}
    return Chart(
        name=f"log-{number:02d}-{slug(curves.cell)}",
        title=curves.cell,
        section="logs",
        said=tuple(
            f"{_words(key)}: from {values[0]:.3g} to {values[-1]:.3g}" for key, values in ends.items() if values
        ),
        rows=rows,
        raw=raw,
    )


def detection_histograms(detection: Detection, number: int) -> Chart:
    """Histograms of the scores of each set of images on a common axis, with the threshold."""
    everything = np.concatenate([np.asarray(scores) for scores in detection.scores.values()])
    edges = np.linspace(float(everything.min()), float(everything.max()) + 1e-6, BINS + 1)
    shares = {name: np.histogram(scores, edges)[0] / len(scores) for name, scores in detection.scores.items()}
    with mpl.rc_context(STYLE):
        figure = canvas(0.6 + 0.75 * len(shares))
        grid = figure.subplots(len(shares), squeeze=False, sharex=True)
        for place, (axes, (name, heights)) in enumerate(zip(grid[:, 0], shares.items(), strict=True)):
            axes.stairs(heights, edges, fill=True, color=HUES[place % SERIES])
            title = axes.annotate(detection.titles[name], (0, 1), (2, -2), "axes fraction", "offset points")
            title.set(va="top", color=INK)
            axes.set(yticks=[])
            axes.tick_params(length=0, labelcolor=FAINT)
            if detection.threshold is not None:
                axes.axvline(detection.threshold, color=FAINT, linestyle="--", linewidth=1.2)
        grid[-1, 0].set_xlabel("Cosine with the signature of the predicted class; dashed: threshold")
        raw = written(figure)
    said = []
    for name, scores in detection.scores.items():
        text = f"{detection.titles[name]}: mean {float(np.mean(scores)):.2f}"
        if detection.threshold is not None:
            flagged = float(np.mean(np.asarray(scores) > detection.threshold))
            text += f", {percent(flagged, 1)} above the threshold"
        said.append(text)
    return Chart(
        name=f"scores-{number:02d}-{slug(detection.cell)}",
        title=f"Scores, {detection.cell}",
        section="detection",
        said=tuple(said),
        rows=[
            {"set": name, "from": low, "to": high, "share": share}
            | ({} if detection.threshold is None else {"threshold": detection.threshold})
            for name, heights in shares.items()
            for low, high, share in zip(edges[:-1].tolist(), edges[1:].tolist(), heights.tolist(), strict=True)
        ],
        raw=raw,
    )


def detection_roc(detection: Detection, number: int) -> Chart:
    """ROC curves: each set of recovered images against public images, each adversarial set against clean images."""
    sets = {
        name: HELD_OUT if name in ADVERSARIAL else PUBLIC for name in detection.scores if name not in (HELD_OUT, PUBLIC)
    }
    rows, said = [], []
    with mpl.rc_context(STYLE):
        figure = canvas(3.4 + 0.09 * len(sets))
        axes = figure.subplots()
        for place, (name, against) in enumerate(sets.items()):
            positives, negatives = (torch.tensor(detection.scores[key]) for key in (name, against))
            clean_flagged, found = (rates.tolist() for rates in roc(positives, negatives))
            line(axes, clean_flagged, found, place, detection.titles[name])
            said.append(f"{detection.titles[name]}: area {percent(auc(positives, negatives).value, 1)}")
            rows += [
                {"set": name, "against": against, "clean_flagged": clean, "recovered_flagged": recovered}
                for clean, recovered in zip(clean_flagged, found, strict=True)
            ]
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        axes.set(xlim=(-0.01, 1.01), xlabel="Clean images flagged")
        axes.set(ylim=(-0.01, 1.01), ylabel="Recovered images flagged")
        axes.xaxis.set_major_formatter(SHARE)
        axes.yaxis.set_major_formatter(SHARE)
        axes.tick_params(length=0, labelcolor=FAINT)
        _legend_above(axes)
        raw = written(figure)
    return Chart(
        name=f"roc-{number:02d}-{slug(detection.cell)}",
        title=f"ROC, {detection.cell}",
        section="detection",
        said=tuple(said),
        rows=rows,
        raw=raw,
    )


def _legend_above(axes: Axes) -> None:
    """A legend above the axes, in as many columns as its labels leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 3 if max(map(len, labels)) <= 14 else 2
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        fontsize=8,
        handlelength=1.6,
        columnspacing=1.2,
        borderpad=0.1,
    )


WORDS = {
    "val_accuracy": "accuracy on validation images",
    "accuracy_in_batch": "accuracy in training batches",
    "trapdoor_success": "success of the trapdoor",
    "discriminator_accuracy": "accuracy of the discriminator",
}
"""What charts call the entries of logs whose names do not say it."""


def _words(key: str) -> str:
    """The name of a log's entry as charts print it: "trapdoor loss" of `loss_trapdoor`."""
    kind, _, of = key.partition("_")
    words = f"{of} {kind}" if kind == "loss" and of else key
    return WORDS.get(key, words.replace("_", " ").replace("/", " "))
