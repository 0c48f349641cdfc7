"""Writes a reproduction as Markdown to read, JSON with everything, and CSV with one number per line."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trapmid.attacks import ATTACKS, BREP, GMI, KEDMI, LOMMA
from trapmid.audit.workload import Line, Workload, clock_text, hours, table
from trapmid.detection.evaluation import ADVERSARIAL
from trapmid.files import write_atomic
from trapmid.metrics.scores import NOT_APPLICABLE
from trapmid.metrics.units import format_value
from trapmid.reproduction.estimate import GIB, Estimate
from trapmid.reproduction.experiment import Experiment, ExperimentRow, column
from trapmid.reproduction.published import PROVENANCE
from trapmid.reproduction.results import Entry, Reproduction

NAME = "reproduction"

ATTACK_TITLES = {
    **{member.model_fields["kind"].default: member.title for member in ATTACKS},
    **{f"lomma-{base.kind}": LOMMA(base=base).heading for base in (GMI(), KEDMI())},
    "brep-untargeted": f"{BREP.title}, untargeted",
    **ADVERSARIAL,
    NOT_APPLICABLE: "",
}
"""The titles of attacks by key."""


class Picture(NamedTuple):
    """A picture or a chart beside the table.

    Attributes:
        file: its file name.
        about: a description, which is also its alternative text.
    """

    file: str
    about: str


def write(made: Reproduction, folder: Path, pictures: Sequence[Picture] = ()) -> None:
    """Write `reproduction.md`, `.json` and `.csv` into `folder`.

    Args:
        made: the reproduction.
        folder: the folder to write to, which is created if needed.
        pictures: pictures in that folder, to be shown above the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"md": markdown(made, pictures), "json": made.model_dump_json(indent=1) + "\n", "csv": as_csv(made)}
    for suffix, text in texts.items():
        write_atomic(folder / f"{NAME}.{suffix}", text)


def markdown(made: Reproduction, pictures: Sequence[Picture] = ()) -> str:
    """The text of reproduction.md: pictures, the table beside the paper's numbers, cost, differences and sources."""
    columns = _used(made)
    heads = ["", "attack"]
    for metric in columns:
        heads += [column(metric).title, *(("paper", "difference") if _has_published(made, metric) else ())]
    rows: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in made.entries:
        rows.setdefault((entry.row, entry.attack), {})[entry.metric] = entry
    lines = []
    for of in rows.values():
        first = next(iter(of.values()))
        cells = [first.title, attack_title(first.attack)]
        for metric in columns:
            entry = of[metric]
            cells.append(number(entry))
            if _has_published(made, metric):
                cells += [entry.published.text if entry.published else "", _difference(entry)]
        lines.append(cells)
    judges = sorted({entry.judge for entry in made.entries} - {"", NOT_APPLICABLE})
    said = [
        f"# {made.title}",
        f"{made.shows} Scale: {made.scale}.",
        *(f"![{picture.about}]({picture.file})" for picture in pictures),
        table(heads, lines),
        "In brackets are 95 % intervals, over runs if there are several and over identities otherwise. "
        f"Judges: {', '.join(judges) or 'none'}. A blank cell was not measured, or its number in the paper is unknown.",
        "## Cost",
        f"The trainings and attacks took {made.seconds / 3600:.2f} hours in total. "
        f"One process used at most {made.peak_memory_mib / 1024:.1f} GiB of memory.",
        "## What differs from the paper",
        "\n".join(f"- {line}" for line in made.differs),
        "## Sources of the paper's numbers",
        "\n".join(_sources(made)) or "No number of the paper is known for this experiment.",
        "## Files",
        "\n".join(
            [f"- {folder}/report.html, {folder}/scores.json" for folder in made.folders]
            + [f"- {picture.file}: {picture.about}" for picture in pictures]
        ),
    ]
    return "\n\n".join(said) + "\n"


def as_csv(made: Reproduction) -> str:
    """The text of reproduction.csv: one number per line, in the paper's unit."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(
        [
            "experiment",
            "scale",
            "row",
            "title",
            "attack",
            "metric",
            "unit",
            "judge",
            "seeds",
            "value",
            "low",
            "high",
            "published",
            "relation",
            "provenance",
            "difference",
        ]
    )
    for entry in made.entries:
        unit, known = column(entry.metric).metric.unit, entry.published
        rows.writerow(
            [made.experiment, made.scale, entry.row, entry.title, entry.attack, entry.metric]
            + [unit.symbol, entry.judge, " ".join(map(str, entry.seeds))]
            + [
                "" if math.isnan(value) else f"{value * unit.factor:.6g}"
                for value in (entry.value, entry.low, entry.high)
            ]
            + ([known.value, known.relation, known.source] if known else ["", "", ""])
            + ["" if math.isnan(entry.difference) else f"{entry.difference:.6g}"]
        )
    return stream.getvalue()


def plan_text(
    experiments: Sequence[Experiment],
    states: dict[str, list[tuple[ExperimentRow, str]]],
    counted: Estimate,
    jobs: int | None,
    unit: str,
) -> str:
    """The plan in words: cells, hours, the critical path, wall clock on several machines, memory and disk space.

    Args:
        experiments: the experiments.
        states: the rows of each with their states.
        counted: what they cost.
        jobs: number of tasks that run at the same time; None for no limit.
        unit: what runs one task: `GPU` or `core`.
    """
    said = []
    for one in experiments:
        alike: dict[tuple[str, str], list[str]] = {}
        for row, state in states[one.name]:
            alike.setdefault((row.title, state), []).append(attack_title(row.attack))
        rows = [[title, "; ".join(attacks), state] for (title, state), attacks in alike.items()]
        said += [one.title, one.shows, table(["", "attacks", "state of each"], rows)]
    folders: dict[str, list[Line]] = {}
    for line in counted.lines:
        folders.setdefault(line.folder.name, []).append(line)
    rows = []
    for folder, lines in folders.items():
        work = Workload(tuple(lines))
        rows.append([folder, str(len(lines)), str(len(work.left)), hours(work.seconds)])
    said.append(table(["folder", "tasks", "to do", "hours"], rows))
    said += [
        f"{len(counted.left)} tasks are to do, which take about {hours(counted.seconds)} {unit} hours.",
        clock_text(counted, jobs, unit),
        f"Each process needs {counted.memory:g} GiB of memory. The results need {counted.disk / GIB:.2f} GiB of disk "
        f"space, and checkpoints of running tasks need more.\nBasis of the estimates: {'; '.join(counted.bases)}.",
    ]
    return "\n\n".join(said)


def attack_title(attack: str) -> str:
    """The title of an attack; empty if there is none."""
    return ATTACK_TITLES.get(attack, attack)


def number(entry: Entry) -> str:
    """A measured value with its interval, in the paper's unit; empty if nothing was measured."""
    if math.isnan(entry.value):
        return ""
    unit = column(entry.metric).metric.unit
    value, low, high = (format_value(x, unit) for x in (entry.value, entry.low, entry.high))
    return value if math.isnan(entry.low) else f"{value} ({low} to {high})"


def _difference(entry: Entry) -> str:
    unit = column(entry.metric).metric.unit
    return format_value(entry.difference / unit.factor, unit, signed=True)


def _has_published(made: Reproduction, metric: str) -> bool:
    return any(entry.published for entry in made.entries if entry.metric == metric)


def _used(made: Reproduction) -> list[str]:
    """Columns with at least one value. If there are none, all columns, so that the table shows what is missing."""
    used = [
        metric
        for metric in made.columns
        if any(e.published or not math.isnan(e.value) for e in made.entries if e.metric == metric)
    ]
    return used or list(made.columns)


def _sources(made: Reproduction) -> list[str]:
    known = [(entry, entry.published) for entry in made.entries if entry.published is not None]
    lines = [
        f"- {sum(one.source == source for _, one in known)} {meaning}"
        for source, meaning in PROVENANCE.items()
        if any(one.source == source for _, one in known)
    ]
    borrowed = sorted({one.experiment for _, one in known} - {made.experiment})
    if borrowed:
        lines.append(f"- where this table's own are not known, the paper's for the same row in {', '.join(borrowed)}")
    for entry, one in known:
        if one.note or one.spread is not None:
            spread = f"standard deviation {one.spread:g}" if one.spread is not None else ""
            told = "; ".join(part for part in (spread, one.note) if part)
            lines.append(
                f"- {entry.title}, {attack_title(entry.attack)}, {column(entry.metric).title} {one.text}: {told}"
            )
    return list(dict.fromkeys(lines))
