"""Runs the tasks of an audit as Slurm jobs, through submitit."""

import atexit
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

from trapmid.audit.clusters import Outcome, carry_out, lost, submitting_to
from trapmid.audit.tasks import Session
from trapmid.audit.workers import Executor, Submit, Work
from trapmid.engine import Progress
from trapmid.errors import UserError, shown
from trapmid.termination import EXIT_CODE, end_on

JOBS = "jobs"
"""The folder of a run with the input and output of Slurm jobs."""
PREEMPTION = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals of a preemption or of a time limit: Slurm's own, and those that submitit asks for."""


def on_slurm(cluster: str = "slurm", **parameters: Any) -> Executor:
    """Run tasks as Slurm jobs. A task whose job is preempted or runs out of time is submitted again.

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
        watcher = _watcher(submitit)
        started: list[Any] = []
        starting = Lock()

        def run_once(work: Work, over: Event) -> Outcome | None:
            executor = submitit.AutoExecutor(folder=work[2] / JOBS, cluster=cluster)
            _configure(executor, {"name": f"trapmid-{work[0].name.replace(' ', '-')}", **parameters})
            with starting:
                if over.is_set():
                    return None
                job = _submit(executor, work)
                started.append(job)
            if cluster == "slurm":
                job.watcher = watcher
                watcher.register_job(job.job_id)
            while not job.done():
                if over.wait(1.0):
                    return None
            outcome = _outcome(job, work)
            if outcome.preempted:
                job.cancel(check=False)  # Slurm may have put it back into the queue itself
            return outcome

        def cancel(_: bool) -> None:
            with starting:
                for job in started:
                    if not job.done():
                        job.cancel(check=False)  # Slurm gives it time to write a checkpoint

        with submitting_to(run_once, cancel, jobs, progress) as submit:
            yield submit

    return submitting


def run_job(work: Work) -> Outcome:
    """Run a task in a Slurm job. After a signal of preemption, the process ends with exit code 143."""
    end_on(*PREEMPTION)  # instead of submitit's handlers, which do not wait for a checkpoint
    outcome = carry_out(work)
    for one in PREEMPTION:
        signal.signal(one, signal.SIG_IGN)  # nothing interrupts submitit while it writes the outcome
    if outcome.preempted:
        atexit.register(os._exit, EXIT_CODE)
    return outcome


def _submit(executor: Any, work: Work) -> Any:
    try:
        return executor.submit(run_job, work)
    except (OSError, RuntimeError) as problem:
        raise UserError(f"Slurm does not take the job of `{work[0].name}`: {problem}. Correct --cluster.") from problem


def _outcome(job: Any, work: Work) -> Outcome:
    try:
        return job.result()
    except Exception as error:
        raise UserError(f"{lost(work[0], error)} The job's own log is {job.paths.stderr}.") from error


def _watcher(submitit: Any) -> Any:
    """Asks Slurm for the states of all jobs at once, at most once a minute.

    submitit's own watcher asks the accounting, which not every Slurm has, and then waits for a dead job without end.
    """

    class Queue(submitit.slurm.slurm.SlurmInfoWatcher):  # type: ignore[misc]
        def _make_command(self) -> list[str] | None:
            jobs = sorted(self._registered - self._finished)
            return ["squeue", "--states=all", "--Format=JobID:|,State:|", f"--jobs={','.join(jobs)}"] if jobs else None

        def read_info(self, string: bytes) -> dict[str, dict[str, str]]:
            rows = (line.split("|") for line in string.decode().splitlines()[1:])
            return {row[0].strip(): {"JobID": row[0].strip(), "State": row[1].strip()} for row in rows}

    return Queue(delay_s=60)


def _configure(executor: Any, parameters: Mapping[str, Any]) -> None:
    try:
        executor.update_parameters(**parameters)
    except (AssertionError, NameError, TypeError, ValueError) as problem:  # an assertion checks the types of values
        first = shown(str(problem).split("\n")[0].rstrip("."))
        raise UserError(f"submitit does not take these settings: {first}. Correct --cluster.") from problem


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as problem:
        raise UserError(
            "--executor slurm needs submitit, which is not installed. Install `trapmid[slurm]` on all machines."
        ) from problem
    return submitit
