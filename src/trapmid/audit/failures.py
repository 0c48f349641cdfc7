"""Tracebacks of tasks that failed, kept in the run folder whatever machine they failed on."""

import os
import socket
import traceback
from contextlib import suppress
from pathlib import Path

from trapmid.audit.plan import Task
from trapmid.files import write_atomic

FAILURES = "failures"
"""The folder of a run that holds a text file for each task that failed."""


def this_process() -> str:
    """The name of this machine and the number of this process."""
    return f"{socket.gethostname()} (process {os.getpid()})"


def failure_file(out: Path, task: Task) -> Path:
    """The file in the run folder `out` for the traceback of a task."""
    return out / FAILURES / f"{task.name.replace(' ', '-')}.txt"


def record_failure(out: Path, task: Task, problem: Exception) -> None:
    """Write the traceback of a task. If the run folder cannot be written to, nothing is recorded."""
    told = "".join(traceback.format_exception(problem))
    with suppress(OSError):
        failure_file(out, task).parent.mkdir(exist_ok=True)
        write_atomic(failure_file(out, task), f"{task.name} on {this_process()}\n\n{told}")


def forget_failure(out: Path, task: Task) -> None:
    """Remove what an earlier run recorded about a task, if there is anything."""
    with suppress(OSError):
        failure_file(out, task).unlink()
        failure_file(out, task).parent.rmdir()
