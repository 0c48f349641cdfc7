"""Runs an audit: skips finished tasks, runs independent tasks in parallel and resumes interrupted ones."""

import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from trapmid.audit.failures import FAILURES, failure_file, record_failure
from trapmid.audit.joining import settle as settle
from trapmid.audit.loading import write_split
from trapmid.audit.measuring import parts
from trapmid.audit.plan import Folders, Task, plan, with_needs
from trapmid.audit.recipe import Recipe
from trapmid.audit.tasks import Session
from trapmid.audit.workers import Executor, submitting
from trapmid.engine import Compute, Progress, no_progress
from trapmid.files import alone
from trapmid.metrics.scores import read_scores, write_scores
from trapmid.types import UserError


def run_audit(
    recipe: Recipe,
    out: str | Path,
    *,
    compute: Compute | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
) -> Recipe:
    """Store a recipe in the folder `out`, and run the whole audit. An interrupted audit is resumed.

    Args:
        recipe: the recipe of the audit.
        out: the run folder. Members and seeds that are already in it are kept. `recipe` can add to them.
        compute: device and precision.
        jobs: number of parallel tasks, as in `run`.
        executor: where tasks run, as in `run`.
        progress: called for every task.

    Returns:
        The recipe as it is stored now.

    Raises:
        UserError: the recipe would change the settings of the folder, or a task failed, as in `run`.
    """
    out = Path(out)
    recipe = settle(recipe, out, progress)
    run(recipe, out, compute=compute, jobs=jobs, executor=executor, progress=progress)
    return recipe


def run(
    recipe: Recipe,
    out: Path,
    *,
    only: Callable[[Task], bool] | None = None,
    compute: Compute | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
) -> None:
    """Run an audit, or a part of it, in the folder `out`.

    Args:
        recipe: the audit.
        out: the run folder; see `plan.Folders` for its layout. `scores.json` and `scores.parquet` end up in its root.
        only: takes a task and returns whether to run it. The tasks that it needs are run, too. Default: all tasks.
        compute: device and precision.
        jobs: the number of tasks that run at the same time, each in its own process; with 1, all tasks run in this
            process. Default: one per core on a CPU; on GPUs one per GPU, or one if `compute` names a GPU by its number.
            Results do not depend on it, because every task uses one thread on a CPU, and one GPU.
        executor: where tasks run: `trapmid.audit.slurm.on_slurm(...)` or `trapmid.audit.ray.on_ray(...)`, with as many
            tasks at once as the plan allows unless `jobs` says less. Default: this machine.
        progress: called for every task. With several processes it is called from background threads, one call at a
            time.

    Raises:
        UserError: a task raised it. Tasks that do not need it were finished first. If several tasks failed, this is
            the first error, and a note names the other tasks. Their tracebacks are in the folder `failures` of `out`.
    """
    compute = compute or Compute()
    everything = plan(recipe)
    wanted = [task for task in everything if only is None or only(task)]
    if not wanted:
        known = ", ".join(task.name for task in everything)
        raise UserError(f"The recipe in {out} has no such task. It has: {known}.")
    tasks = with_needs(wanted, everything)
    session = Session()
    write_split(recipe, out, session.data(recipe, progress), progress)
    at_once = _at_once(jobs, len(tasks), compute, executor)
    with (executor or submitting)(at_once, session, progress) as submit:
        _in_order(tasks, at_once, lambda task: submit(task, recipe, out, compute), out, progress)
    _show_scores(Folders(out))


def measure_finished(
    recipe: Recipe,
    out: str | Path,
    *,
    compute: Compute | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress = no_progress,
) -> None:
    """Measure all finished models and attacks, and skip the rest of the recipe. Judges are trained if necessary.

    Existing measurements are kept. If a metric is new or has another version, only this metric is measured.

    Args:
        recipe: the recipe of the run.
        out: the run folder.
        compute: device and precision.
        jobs: the number of parts that are measured at the same time, as in `run`.
        executor: where parts are measured, as in `run`. This process combines them.
        progress: called for every part.
    """
    out = Path(out)
    compute, folders = compute or Compute(), Folders(out)
    session = Session()
    audit = session.measuring(recipe, out, compute, progress)
    waiting = [part for part in parts(recipe, folders) if not audit.up_to_date(part)]
    everything = plan(recipe)
    judges = [task for task in everything if task.kind == "judge" and not folders.of(task).exists()]
    needs = with_needs(judges, everything) | dict.fromkeys(waiting, tuple(judges))
    at_once = _at_once(jobs, len(needs), compute, executor)
    with (executor or submitting)(at_once, session, progress) as submit:
        _in_order(needs, at_once, lambda task: submit(task, recipe, out, compute), out, progress)
    with submitting(1, session, progress) as submit:
        submit(Task("measure"), recipe, out, compute).result()
    _show_scores(folders)


def _show_scores(folders: Folders) -> None:
    """Copy the scores of the measurement, if there is one, to the root of the run folder."""
    with alone(folders.measurement):
        if folders.measurement.exists():
            write_scores(folders.root, read_scores(folders.measurement))


def default_jobs(compute: Compute) -> int:
    """The default number of tasks at the same time: one per core that this process may use, or one per GPU.

    If a training takes several of them, there are so many fewer tasks.
    """
    if compute.torch_device.type != "cpu":
        return max(1, len(compute.gpus))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // compute.devices)


def _at_once(jobs: int | None, tasks: int, compute: Compute, executor: Executor | None) -> int:
    """The number of tasks at the same time. A cluster has a device of its own, which only its machines see."""
    if jobs is not None and jobs < 1:
        raise UserError(f"{jobs} jobs: no task would run. Expected 1 or more, or --jobs 0 for one per core or GPU.")
    wanted = jobs or (tasks if executor is not None else default_jobs(compute))
    return max(1, min(wanted, tasks))


def _in_order(
    tasks: dict[Task, tuple[Task, ...]],
    jobs: int,
    start: Callable[[Task], "Future[None]"],
    out: Path,
    progress: Progress,
) -> None:
    """Keep `jobs` tasks running. The next task is always the first one in the plan whose dependencies are finished.

    If a task fails, every task that does not need it is still run. Then the first error is raised.
    """
    finished: set[Task] = set()
    failed: dict[Task, Exception] = {}
    running: dict[Future[None], Task] = {}
    waiting = list(tasks)
    while True:
        ready = [task for task in waiting if finished.issuperset(tasks[task])]
        for task in ready[: jobs - len(running)]:
            waiting.remove(task)
            running[start(task)] = task
        if not running:
            break
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            task = running.pop(future)
            try:
                future.result()
                finished.add(task)
            except Exception as problem:
                failed[task] = problem
            progress("audit", len(finished), len(tasks), _said(failed))
    if failed:
        raise _first(failed, out)


def _said(failed: dict[Task, Exception]) -> str:
    return f"failed: {', '.join(task.name for task in failed)}" if failed else ""


def _first(failed: dict[Task, Exception], out: Path) -> Exception:
    """The first error. It has a note if other tasks failed as well."""
    (first, problem), *others = failed.items()
    for task, other in others:
        if not failure_file(out, task).exists():  # the process was killed before it could write one
            record_failure(out, task, other)
    if others:
        names = ", ".join(f"`{task.name}`" for task, _ in others)
        problem.add_note(
            f"`{first.name}` failed first. {len(others)} more failed: {names}. "
            f"Their tracebacks are in {out / FAILURES}. All tasks that need none of these are finished."
        )
    return problem
