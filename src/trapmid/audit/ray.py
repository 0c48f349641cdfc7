"""Runs the tasks of an audit as tasks of Ray, on a cluster or on this machine."""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

from trapmid.audit.clusters import Outcome, carry_out, lost, submitting_to
from trapmid.audit.tasks import Session
from trapmid.audit.workers import PATIENCE, Executor, Submit, Work
from trapmid.engine import Progress
from trapmid.errors import UserError, shown
from trapmid.termination import end_on

OBJECTS = 100 * 2**20
"""Bytes of shared memory that a Ray of this machine reserves. Results are files, so Ray moves only small messages."""
ANSWERS_WITHIN = 10.0
"""Seconds that a cluster has to take a connection. Ray itself tries for many minutes before it reports a problem."""
PREEMPTION = (signal.SIGTERM, signal.SIGINT)
"""Signals that end a task: that of the system, and the one with which Ray cancels a task."""


def on_ray(address: str = "local", **options: Any) -> Executor:
    """Run tasks as tasks of Ray. Ray runs a task again if its node or its process dies, at most `max_retries` times.

    Args:
        address: the cluster: `auto` for the one that this machine belongs to, or `HOST:PORT`. With `local`, Ray is
            started on this machine and ended afterwards. A connection that the calling program has made to Ray is used
            instead.
        options: what each task needs, as `ray.remote` takes it, e.g. `num_gpus`, `num_cpus`, `memory` in bytes,
            `max_retries`. Default: one core, and three retries.

    Raises:
        UserError: Ray is not installed, cannot be reached, or does not take these options.
    """

    @contextmanager
    def submitting(jobs: int, session: Session, progress: Progress) -> Iterator[Submit]:
        del session
        ray = _ray()
        remote = ray.remote(run_task)
        _check_options(remote, options)
        running: set[Any] = set()
        starting = Lock()

        def run_once(work: Work, over: Event) -> Outcome | None:
            with starting:
                if over.is_set():
                    return None
                task = remote.options(**{"name": f"trapmid: {work[0].name}", **options}).remote(work)
                running.add(task)
            while not ray.wait([task], timeout=1.0)[0]:
                if over.is_set():
                    return None
            running.discard(task)
            try:
                return ray.get(task)
            except ray.exceptions.RayError as error:
                raise lost(work[0], error) from error

        def cancel(patient: bool) -> None:
            with starting:
                tasks = list(running)
            for task in tasks:
                ray.cancel(task)
            if tasks and patient:
                ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)

        with _connected(ray, address, options), submitting_to(run_once, cancel, jobs, progress) as submit:
            yield submit

    return submitting


def run_task(work: Work) -> Outcome:
    """Run a task in a process of Ray."""
    before = [signal.getsignal(one) for one in PREEMPTION]
    end_on(*PREEMPTION)
    try:
        return carry_out(work)
    finally:
        for one, handler in zip(PREEMPTION, before, strict=True):
            signal.signal(one, handler)


@contextmanager
def _connected(ray: Any, address: str, options: Mapping[str, Any]) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    _check_reachable(address)
    local: dict[str, Any] = {"object_store_memory": OBJECTS, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning", **local)
    except (ConnectionError, ImportError, OSError, RuntimeError, TimeoutError, ValueError) as problem:
        raise UserError(f"Ray does not start or cannot be reached at {address!r}: {shown(problem)}.") from problem
    try:
        if local:
            _check_resources(ray.cluster_resources(), options)
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Report an address at which nobody answers. What is no HOST:PORT is left to Ray."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as problem:
        raise UserError(
            f"No Ray cluster answers at {address!r}: {shown(problem)}. Correct --cluster address=HOST:PORT."
        ) from problem


def _check_resources(there: Mapping[str, float], options: Mapping[str, Any]) -> None:
    """Report what a task would wait for without end. Clusters are not checked, because they may grow."""
    for option, name in (("num_cpus", "CPU"), ("num_gpus", "GPU"), ("memory", "memory")):
        if options.get(option, 0) > (has := there.get(name, 0)):
            raise UserError(
                f"--cluster {option}={options[option]}: this machine has {has:g}. Lower it, or name a cluster with "
                "--cluster address=HOST:PORT."
            )


def _check_options(remote: Any, options: Mapping[str, Any]) -> None:
    try:
        remote.options(**options)
    except (TypeError, ValueError) as problem:
        raise UserError(f"Ray does not take these settings: {shown(problem)}. Correct --cluster.") from problem


def _ray() -> Any:
    handler = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # an audit reports to nobody
    os.environ.setdefault(
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"
    )  # under `uv run`, Ray would send the working folder away
    try:
        import ray
    except ImportError as problem:
        raise UserError(
            "--executor ray needs Ray, which is not installed. Install `trapmid[ray]` on all machines."
        ) from problem
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray sets its own, which leaves no time for checkpoints
    return ray
