"""What every cluster shares: what runs on a node, and how its outcome comes home. All nodes need the run folder."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Event, Lock
from typing import Any, NamedTuple

import torch

from trapmid.audit.failures import failure_file, this_process
from trapmid.audit.plan import Task
from trapmid.audit.recipe import Recipe
from trapmid.audit.tasks import Session
from trapmid.audit.workers import Submit, Work
from trapmid.engine import Compute, Progress, no_progress
from trapmid.errors import UserError, in_words
from trapmid.metrics.table import register, registered_for_workers
from trapmid.termination import Terminated

ATTEMPTS = 3
"""A task is submitted this often if it reaches no checkpoint before its preemption."""


class Outcome(NamedTuple):
    """How a task ended on a node.

    Attributes:
        node: the machine and the process that ran it.
        problem: the error as text; empty if there was none.
        preempted: whether the process was asked to end before the task was finished.
        saved: whether a preempted task has written a checkpoint.
    """

    node: str
    problem: str = ""
    preempted: bool = False
    saved: bool = False


def carry_out(work: Work) -> Outcome:
    """Run a task in a process of a cluster."""
    task, recipe, out, compute, metrics = work
    node = this_process()
    torch.set_num_threads(1)
    try:
        for metric in metrics:
            register(metric)
        _session().do(task, recipe, out, compute, no_progress)
    except Terminated as ended:
        return Outcome(node, preempted=True, saved=ended.saved)
    except Exception as problem:
        said = in_words(problem) or f"{type(problem).__name__}: {problem}."
        file = failure_file(out, task)
        return Outcome(node, f"`{task.name}` failed on {node}: {said} The traceback is in {file}.")
    return Outcome(node)


@cache
def _session() -> Session:
    """The session of this process, which is shared by all its tasks."""
    return Session()


@contextmanager
def submitting_to(
    run_once: Callable[[Work, Event], Outcome | None],
    cancel: Callable[[bool], None],
    jobs: int,
    progress: Progress,
) -> Iterator[Submit]:
    """Run tasks on a cluster. A task that was preempted is submitted again.

    Args:
        run_once: submits a task and waits for its outcome, or returns None soon after the event is set. It is called
            in a thread of its own.
        cancel: ends what still runs on the cluster. It takes whether to wait for checkpoints, and is called once, after
            the event is set.
        jobs: the number of tasks that are submitted at the same time.
        progress: called when a task is submitted, preempted and finished.
    """
    over = Event()
    telling = Lock()

    def tell(task: Task, done: int, note: str) -> None:
        with telling:
            progress(task.name, done, done or None, note)

    def until_finished(task: Task, recipe: Recipe, out: Path, compute: Compute) -> None:
        work = (task, recipe, out.resolve(), compute, registered_for_workers())
        in_vain = 0
        while in_vain < ATTEMPTS:
            tell(task, 0, "submitted")
            outcome = run_once(work, over)
            if outcome is None:
                return
            if not outcome.preempted:
                tell(task, 1, f"on {outcome.node}")
                if outcome.problem:
                    raise UserError(outcome.problem)
                return
            tell(task, 0, f"preempted on {outcome.node}")
            in_vain = 0 if outcome.saved else in_vain + 1
        raise UserError(
            f"`{task.name}` was preempted {ATTEMPTS} times in a row before it reached a checkpoint. Give its job more "
            "time with --cluster, then run the same command again."
        )

    pool = ThreadPoolExecutor(jobs)

    def submit(task: Task, recipe: Recipe, out: Path, compute: Compute) -> "Future[None]":
        return pool.submit(until_finished, task, recipe, out, compute)

    patient = False
    try:
        yield submit
    except Terminated:
        patient = True
        raise
    finally:
        over.set()
        cancel(patient)
        pool.shutdown(cancel_futures=True)


def lost(task: Task, error: BaseException) -> UserError:
    """The error of a task whose process ended without an outcome."""
    first = str(error).strip().split("\n")[0]
    return UserError(
        f"`{task.name}` was lost with its node or job ({type(error).__name__}: {first}). Run the same command again: "
        "it goes on from the last checkpoint."
    )


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Parse the settings of a cluster from the command line, each of which is `KEY=VALUE`. Numbers become numbers.

    Raises:
        UserError: a setting does not have this form.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--cluster {setting!r}: expected KEY=VALUE, e.g. num_gpus=1.")
        values[key] = _number(value)
    return values


def _number(value: str) -> str | int | float:
    if re.fullmatch(r"\d+", value, re.ASCII):
        return int(value)
    return float(value) if re.fullmatch(r"\d+\.\d+", value, re.ASCII) else value
