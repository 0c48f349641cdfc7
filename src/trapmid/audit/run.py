"""Running an audit: what is finished is skipped, what can run side by side does, what was interrupted resumes."""

import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as await_any
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from trapmid.audit.loading import load_data, write_split
from trapmid.audit.measuring import parts
from trapmid.audit.plan import Folders, Task, plan, with_needs
from trapmid.audit.recipe import Recipe
from trapmid.audit.tasks import do
from trapmid.config import misfits
from trapmid.engine import Compute, Progress, no_progress
from trapmid.files import write_atomic
from trapmid.metrics.scores import read_scores, write_scores
from trapmid.types import UserError

RECIPE = "recipe.json"


def settle(recipe: Recipe | None, out: Path) -> Recipe:
    """The recipe of a run folder: the one stored there, joined by the seeds, defenses, attacks, judges, fidelity and robustness of `recipe`.

    What is joined is stored. What decides the numbers of finished cells may not change.

    Raises:
        UserError: there is no recipe at all, `recipe` would change what is there or has a judge that it should not have, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Expected a folder for the run, one that is there or a new one.")
    file = out / RECIPE
    stored = None
    if file.exists():
        try:
            stored = Recipe.model_validate(json.loads(file.read_text(encoding="utf-8")))
        except (ValidationError, json.JSONDecodeError) as problem:
            raise UserError(
                f"{file} is not a recipe this trapmid can read: {misfits(problem)}. Choose another --out."
            ) from problem
    if recipe is None:
        if stored is None:
            raise UserError(f"{out} holds no {RECIPE}. Name a recipe with --recipe: `trapmid list` shows them.")
        return stored
    recipe.check_judges()
    joined = recipe if stored is None else _join(stored, recipe, out)
    if joined != stored:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(file, joined.model_dump_json(indent=1) + "\n")
    return joined


def _join(stored: Recipe, recipe: Recipe, out: Path) -> Recipe:
    members = ("defenses", "attacks", "judges")
    fixed = set(Recipe.model_fields) - {"seeds", "fidelity", "robustness", *members}
    differing = sorted(name for name in fixed if getattr(stored, name) != getattr(recipe, name))
    seeds = tuple(dict.fromkeys((*stored.seeds, *recipe.seeds)))
    fidelity = recipe.fidelity or stored.fidelity
    joined: dict[str, Any] = {"seeds": seeds, "fidelity": fidelity, "robustness": recipe.robustness}
    for name in members:
        there = {member.name: member for member in getattr(stored, name)}
        here = {member.name: member for member in getattr(recipe, name)}
        differing += [f"{name}.{member}" for member in there.keys() & here.keys() if there[member] != here[member]]
        joined[name] = tuple((there | here).values())
    if differing:
        raise UserError(
            f"{out} was begun with another recipe: {', '.join(differing)} differ. Choose another --out, or remove that folder."
        )
    return stored.model_copy(update=joined)


def run(
    recipe: Recipe,
    out: Path,
    *,
    only: Callable[[Task], bool] | None = None,
    compute: Compute | None = None,
    jobs: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Carry out an audit, or a part of it, in the folder `out`.

    Args:
        recipe: what to do.
        out: the run folder; see `plan.Folders` for its layout. `scores.json` and `scores.parquet` end up in its root.
        only: which tasks are wanted; what they need runs too.
        compute: device and precision.
        jobs: tasks side by side, each in a process of its own; with 1 all of it happens in this process. Default: one per core
            on a CPU, one on a GPU. Numbers do not depend on it, as every task computes with one thread on a CPU.
        progress: told about every task; called from a background thread where there are several processes.

    Raises:
        UserError: from a task; what was finished before stays.
    """
    compute = compute or Compute()
    jobs = _side_by_side(jobs, compute)
    everything = plan(recipe)
    wanted = [task for task in everything if only is None or only(task)]
    if not wanted:
        known = ", ".join(task.name for task in everything)
        raise UserError(f"The recipe in {out} has no such task. It has: {known}.")
    tasks = with_needs(wanted, everything)
    write_split(recipe, out, load_data(recipe, progress))
    jobs = min(jobs, len(tasks))
    with _submitting(jobs, progress) as submit:
        _in_order(tasks, jobs, lambda task: submit(task, recipe, out, compute), progress)
    measurement = out / "measurement"
    if measurement.exists():
        write_scores(out, read_scores(measurement))


def measure_finished(
    recipe: Recipe,
    out: Path,
    *,
    compute: Compute | None = None,
    jobs: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Measure what is finished, whatever else the recipe holds; judges are trained if they have to be.

    Args:
        recipe: of the run.
        out: its folder.
        compute: device and precision.
        jobs: parts side by side, as in `run`.
        progress: told about every part.
    """
    compute, folders = compute or Compute(), Folders(out)
    jobs = _side_by_side(jobs, compute)
    waiting = [part for part in parts(recipe, folders) if not folders.of(part).exists()]
    jobs = max(1, min(jobs, len(waiting)))
    judges = [task for task in plan(recipe) if task.kind == "judge" and not folders.of(task).exists()]
    needs = dict.fromkeys(judges, ()) | dict.fromkeys(waiting, tuple(judges))
    with _submitting(jobs, progress) as submit:
        _in_order(needs, jobs, lambda task: submit(task, recipe, out, compute), progress)
    with _submitting(1, progress) as submit:
        submit(Task("measure"), recipe, out, compute)
    write_scores(out, read_scores(out / "measurement"))


def cores(compute: Compute) -> int:
    """Tasks side by side where nobody says otherwise: one per core that this process may use on a CPU, one on a GPU."""
    if compute.torch_device.type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _side_by_side(jobs: int | None, compute: Compute) -> int:
    if jobs is not None and jobs < 1:
        raise UserError(f"{jobs} jobs: no task would run. Expected 1 or more, or --jobs 0 for one per core.")
    return jobs or cores(compute)


Submit = Callable[[Task, Recipe, Path, Compute], "Future[None]"]


def _in_order(
    tasks: dict[Task, tuple[Task, ...]], jobs: int, start: Callable[[Task], "Future[None]"], progress: Progress
) -> None:
    """Keep `jobs` tasks running: always the first of the plan whose needs are finished."""
    finished: set[Task] = set()
    running: dict[Future[None], Task] = {}
    waiting = list(tasks)
    while waiting or running:
        ready = [task for task in waiting if finished.issuperset(tasks[task])]
        for task in ready[: jobs - len(running)]:
            waiting.remove(task)
            running[start(task)] = task
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            finished.add(running.pop(future))
            future.result()
            progress("audit", len(finished), len(tasks), "")


def _submitting(jobs: int, progress: Progress) -> AbstractContextManager[Submit]:
    return _workers(jobs, progress) if jobs > 1 else _this_process(progress)


@contextmanager
def _this_process(progress: Progress) -> Iterator[Submit]:
    """A task is done when it has been submitted; on one thread, as in a worker."""

    def submit(task: Task, recipe: Recipe, out: Path, compute: Compute) -> "Future[None]":
        do(task, recipe, out, compute, _naming(task, progress))
        done: Future[None] = Future()
        done.set_result(None)
        return done

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield submit
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _workers(jobs: int, progress: Progress) -> Iterator[Submit]:
    """Worker processes that report progress and die with their parent, or when it tells them."""
    context = multiprocessing.get_context("spawn")
    ended, end = context.Pipe(duplex=False)
    queue: Queue[Any] = context.Queue()
    told = threading.Thread(target=_pass_on, args=(queue, progress), daemon=True)
    told.start()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(queue, ended))
    fresh = itertools.count(1)

    def submit(task: Task, recipe: Recipe, out: Path, compute: Compute) -> "Future[None]":
        if next(fresh) <= jobs:  # the first tasks wait for their process to import torch
            progress(f"{task.name}: start a worker", 0, None, "")
        return pool.submit(_work, task, recipe, out, compute)

    try:
        yield submit
    except BaseException:
        end.send(None)  # which nobody takes out, so that every worker sees it
        pool.shutdown(cancel_futures=True)
        raise
    else:
        pool.shutdown()
    finally:
        queue.put(None)
        told.join(timeout=5)


def _pass_on(queue: "Queue[Any]", progress: Progress) -> None:
    while (message := queue.get()) is not None:
        progress(*message)


_queue: "Queue[Any] | None" = None


def _start_worker(queue: "Queue[Any]", ended: Connection) -> None:
    global _queue
    _queue = queue
    threading.Thread(target=_die_when_told, args=(ended,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers itself
    torch.set_num_threads(1)


def _die_when_told(ended: Connection) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    await_any([parent.sentinel, ended])
    os._exit(1)


def _work(task: Task, recipe: Recipe, out: Path, compute: Compute) -> None:
    assert _queue is not None
    queue = _queue
    do(task, recipe, out, compute, _naming(task, lambda *message: queue.put(message)))


def _naming(task: Task, progress: Progress) -> Progress:
    """Pass on what a task tells, under its name and not too often."""
    last = 0.0

    def told(name: str, done: int, total: int | None, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.2 or done == total:
            last = now
            progress(task.name if name.startswith(task.kind) else f"{task.name}: {name}", done, total, note)

    return told
