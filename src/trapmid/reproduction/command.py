"""`trapmid reproduce`: plans or runs experiments by name and writes each result as a table beside the paper's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import torch

from trapmid.audit.run import default_jobs, measure_finished, run
from trapmid.audit.workers import Executor
from trapmid.audit.workload import table
from trapmid.engine import Compute, Progress, no_progress
from trapmid.report.write import write_report
from trapmid.reproduction import charts, pictures
from trapmid.reproduction.cpu import CPUScale
from trapmid.reproduction.estimate import cells, estimate
from trapmid.reproduction.experiment import Experiment
from trapmid.reproduction.experiments import EXPERIMENTS
from trapmid.reproduction.paper import PaperScale
from trapmid.reproduction.results import Reproduction, collect
from trapmid.reproduction.scale import Scale
from trapmid.reproduction.studies import Layout, adopt, lay_out
from trapmid.reproduction.write import markdown, plan_text, write
from trapmid.types import UserError


class _Where(TypedDict):
    """How and where an audit runs."""

    compute: Compute | None
    jobs: int | None
    executor: Executor | None
    progress: Progress


SCALES: dict[str, type[Scale]] = {"cpu": CPUScale, "paper": PaperScale}


def chosen(names: Sequence[str], attacks: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """The experiments of these names. If attacks are named, only their rows are kept.

    Raises:
        UserError: no name is given, an experiment is unknown, or it has none of the attacks.
    """
    if not names:
        raise UserError(
            "No experiment is named. Name at least one, for example table1; `trapmid reproduce list` shows all."
        )
    for name in names:
        if name not in EXPERIMENTS:
            raise UserError(f"{name!r} is not an experiment. Expected one of {', '.join(EXPERIMENTS)}.")
    kept = tuple(EXPERIMENTS[name].keeping(attacks) for name in names)
    for one in kept:
        if not one.rows:
            known = dict.fromkeys(row.attack for row in EXPERIMENTS[one.name].rows)
            raise UserError(f"{one.name} has none of the attacks {', '.join(attacks)}. It has {', '.join(known)}.")
    return kept


def listing() -> str:
    """A Markdown table of every experiment with its title and what it shows."""
    return table(["name", "title", "what it shows"], [[one.name, one.title, one.shows] for one in EXPERIMENTS.values()])


def check(experiments: Sequence[Experiment], scale: Scale) -> None:
    """Check that all images that the experiments need are given.

    Raises:
        UserError: some are missing.
    """
    for one in experiments:
        scale.check(one)


def planned(experiments: Sequence[Experiment], scale: Scale, layout: Layout, jobs: int | None) -> str:
    """A description of what would run, how long it takes, and what differs from the paper.

    Args:
        experiments: the experiments, from `chosen`.
        scale: the scale at which they would run.
        layout: their layout, from `lay_out`.
        jobs: number of tasks that run at the same time; None for no limit.
    """
    states = {one.name: cells(layout, one) for one in experiments}
    differing: dict[str, list[str]] = {}
    for one in experiments:
        for line in (*scale.differs(one), *one.notes):
            differing.setdefault(line, []).append(one.name)
    lines = [
        f"- {line}" if len(names) == len(experiments) else f"- {', '.join(names)}: {line}"
        for line, names in differing.items()
    ]
    text = plan_text(experiments, states, estimate(layout, experiments, scale), jobs, scale.unit)
    return "\n".join([f"{text}\n\nImages: {scale.needs}\n\nWhat differs from the paper:", *lines])


def jobs_here(scale: Scale, device: str) -> int:
    """The number of tasks that this machine would run at the same time by default. Without a GPU, it counts as one."""
    if scale.unit == "core":
        return default_jobs(Compute("cpu"))
    return 1 if ":" in device else max(1, torch.cuda.device_count())


def reproduce(
    experiments: Sequence[Experiment],
    scale: Scale,
    layout: Layout,
    out: Path,
    *,
    compute: Compute | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    redact: bool = False,
    progress: Progress = no_progress,
) -> list[Reproduction]:
    """Run what is missing, measure, and write OUT/EXPERIMENT/reproduction.md, .json and .csv.

    Each audit also gets its report. A run that was interrupted resumes.

    Args:
        experiments: the experiments, from `chosen`.
        scale: the scale at which to run them.
        layout: their layout, from `lay_out`.
        out: the folder for all results.
        compute: device and precision.
        jobs: number of tasks that run at the same time.
        executor: where tasks run, as in `trapmid.audit.run.run`.
        redact: leave out private images from reports and pictures.
        progress: called with the progress of each task.

    Raises:
        UserError: images are missing, or a folder holds something other than its audit.
    """
    check(experiments, scale)
    where: _Where = {"compute": compute, "jobs": jobs, "executor": executor, "progress": progress}
    for study in layout.studies:
        recipe = study.settled()
        adopt(study)
        if not study.finished():
            run(recipe, study.folder, only=set(study.tasks).__contains__, **where)
        measure_finished(recipe, study.folder, **where)
        write_report(study.folder, redact=redact)
    made = []
    for one in experiments:
        folder = out / one.name
        made.append(collect(one, layout, out, scale.name, (*scale.differs(one), *one.notes)))
        drawn = [pictures.draw(one, layout, folder, redact=redact)] if one.pictures else []
        drawn += () if one.chart is None else charts.draw(one.chart, made[-1], folder)
        write(made[-1], folder, drawn)
    return made


__all__ = ["SCALES", "check", "chosen", "jobs_here", "lay_out", "listing", "markdown", "planned", "reproduce"]
