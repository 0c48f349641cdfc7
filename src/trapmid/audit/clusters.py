"""Runs the tasks of an audit as Slurm jobs. All machines need access to the run folder."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trapmid.audit.failures import failure_file, this_process
from trapmid.audit.plan import Task
from trapmid.audit.recipe import Recipe
from trapmid.audit.tasks import Session
from trapmid.audit.workers import Executor, Submit, Work
from trapmid.engine import Compute, Progress, no_progress
from trapmid.errors import UserError, in_words
from trapmid.metrics.table import register, registered_for_workers

JOBS = "jobs"
"""The folder of a run with the input and output of Slurm jobs."""


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Parse the settings of a cluster from the command line, each of which is `KEY=VALUE`.

    Raises:
        UserError: a setting does not have this form.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--cluster {setting!r}: expected KEY=VALUE, e.g. slurm_partition=gpu.")
        values[key] = int(value) if value.isdigit() else value
    return values


def on_slurm(cluster: str = "slurm", **parameters: Any) -> Executor:
    """Run tasks as Slurm jobs through submitit. A preempted job is submitted again.

    Args:
        cluster: `slurm`; `local` runs the jobs as processes of this machine, for tests.
        parameters: parameters of `submitit.AutoExecutor.update_parameters`, e.g. `slurm_partition`, `gpus_per_node`,
            `timeout_min`.

    Raises:
        UserError: submitit is not installed.
    """

    @contextmanager
    def submitting(jobs: int, session: Session, progress: Progress) -> Iterator[Submit]:
        del session
        submitit = _submitit()
        started: list[Any] = []

        def submit(task: Task, recipe: Recipe, out: Path, compute: Compute) -> "Future[None]":
            executor = submitit.AutoExecutor(folder=out.resolve() / JOBS, cluster=cluster)
            _configure(executor, {"name": "trapmid", **parameters})
            work = (task, recipe, out.resolve(), compute, registered_for_workers())
            job = executor.submit(Resubmitted(), work)
            started.append(job)
            progress(task.name, 0, None, f"job {job.job_id}")
            return _told(pool.submit(_result, job, task), task, progress)

        pool = ThreadPoolExecutor(jobs)
        try:
            yield submit
        finally:
            for job in started:
                if not job.done():
                    job.cancel(check=False)
            pool.shutdown(cancel_futures=True)

    return submitting


class Resubmitted:
    """A task that Slurm submits again if its job is preempted or runs out of time."""

    def __call__(self, work: Work) -> tuple[str, str]:
        """Run the task."""
        return carry_out(work)

    def checkpoint(self, work: Work) -> Any:
        """Return the same task for submission. submitit calls this method when Slurm is about to end the job."""
        return _submitit().helpers.DelayedSubmission(self, work)


def carry_out(work: Work) -> tuple[str, str]:
    """Run a task in a process of a cluster.

    Returns:
        The name of the node, and the error as text, which is empty if there was none.
    """
    task, recipe, out, compute, metrics = work
    node = this_process()
    torch.set_num_threads(1)
    try:
        for metric in metrics:
            register(metric)
        _session().do(task, recipe, out, compute, no_progress)
    except Exception as problem:
        said = in_words(problem) or f"{type(problem).__name__}: {problem}."
        return node, f"`{task.name}` failed on {node}: {said} The traceback is in {failure_file(out, task)}."
    return node, ""


@cache
def _session() -> Session:
    """The session of this process, which is shared by all its tasks."""
    return Session()


def _told(found: "Future[tuple[str, str]]", task: Task, progress: Progress) -> "Future[None]":
    """The future of a task. It finishes with the task, and has the exception if the task reported an error."""
    told: Future[None] = Future()

    def tell(done: "Future[tuple[str, str]]") -> None:
        try:
            node, problem = done.result()
        except BaseException as error:
            told.set_exception(error if isinstance(error, UserError) else UserError(_lost(task, error)))
            return
        progress(task.name, 1, 1, f"on {node}")
        if problem:
            told.set_exception(UserError(problem))
        else:
            told.set_result(None)

    found.add_done_callback(tell)
    return told


def _lost(task: Task, error: BaseException) -> str:
    first = str(error).strip().split("\n")[0]
    return (
        f"`{task.name}` was lost with its node or job ({type(error).__name__}: {first}). Run the same command again: "
        "it goes on from the last checkpoint."
    )


def _result(job: Any, task: Task) -> tuple[str, str]:
    try:
        return job.result()
    except Exception as error:
        raise UserError(f"{_lost(task, error)} The job's own log is {job.paths.stderr}.") from error


def _configure(executor: Any, parameters: Mapping[str, Any]) -> None:
    try:
        executor.update_parameters(**parameters)
    except (NameError, TypeError, ValueError) as problem:
        raise UserError(f"submitit does not take these settings: {problem}. Correct --cluster.") from problem


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as problem:
        raise UserError(
            "--executor slurm needs submitit, which is not installed. Install `trapmid[slurm]` on all machines."
        ) from problem
    return submitit
