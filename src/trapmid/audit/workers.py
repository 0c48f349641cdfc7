"""Runs the tasks of an audit, in this process or in worker processes."""

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn, TypeAlias

import torch

from trapmid.audit.plan import Task
from trapmid.audit.recipe import Recipe
from trapmid.audit.tasks import Session
from trapmid.engine import Compute, Progress, one_thread
from trapmid.errors import UserError, in_words
from trapmid.metrics.metric import AnyMetric
from trapmid.metrics.table import register, registered_for_workers
from trapmid.termination import EXIT_CODE, Terminated, end_on

Submit = Callable[[Task, Recipe, Path, Compute], "Future[None]"]
Executor: TypeAlias = Callable[[int, Session, Progress], AbstractContextManager[Submit]]
"""Where tasks run.

Its arguments are the number of parallel tasks, the session of this process and the callback for progress.
"""
Work: TypeAlias = tuple[Task, Recipe, Path, Compute, tuple[AnyMetric, ...]]
"""The message to a worker: a task, and the metrics that were registered in the parent process."""

PATIENCE = 20.0
"""How many seconds tasks have to write their checkpoints when the command is asked to end.

Slurm kills processes 30 seconds after SIGTERM by default.
"""

_START = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)  # it may reach the whole group; the parent process ends its workers itself
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from trapmid.audit.workers import serve
serve()
"""
"""The program of a worker.

Unlike a worker of `multiprocessing`, it does not import the parent's main script again, so a script that runs an audit
needs no `if __name__ == "__main__"`.
"""


def submitting(jobs: int, session: Session, progress: Progress) -> AbstractContextManager[Submit]:
    """Return a context manager for a function that takes tasks and returns futures.

    With several `jobs`, tasks run in parallel worker processes. With one, they run one at a time in this process.
    """
    return _worker_processes(jobs, progress) if jobs > 1 else _this_process(session, progress)


@contextmanager
def _this_process(session: Session, progress: Progress) -> Iterator[Submit]:
    """Run each task when it is submitted. It uses one thread, as in a worker."""

    def submit(task: Task, recipe: Recipe, out: Path, compute: Compute) -> "Future[None]":
        done: Future[None] = Future()
        try:
            session.do(task, recipe, out, compute, _naming(task, progress))
            done.set_result(None)
        except Exception as problem:
            traceback.clear_frames(problem.__traceback__)  # other tasks need the memory of what they hold
            done.set_exception(problem)
        return done

    with one_thread():
        yield submit


@contextmanager
def _worker_processes(jobs: int, progress: Progress) -> Iterator[Submit]:
    """Run tasks in worker processes.

    Each thread of a pool uses an idle worker or starts one, sends it a task and forwards its messages. A worker keeps
    the GPU that it got at its start, and sees no other. Two workers share a GPU only if there are more jobs than GPUs.
    """
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    started: list[_Worker] = []
    leases: Counter[str | None] = Counter()
    over = False
    telling, starting = threading.Lock(), threading.Lock()

    def tell(*message: Any) -> None:
        with telling:
            progress(*message)

    def carry_out(task: Task, recipe: Recipe, out: Path, compute: Compute) -> None:
        try:
            worker = idle.get_nowait()
        except queue.Empty:
            tell(f"{task.name}: start a worker", 0, None, "")
            with starting:
                if over:
                    return
                worker = _Worker(min(compute.gpus, key=leases.__getitem__, default=None))
                leases[worker.gpu] += 1
                started.append(worker)
        try:
            worker.carry_out((task, recipe, out, compute, registered_for_workers()), _naming(task, tell))
        finally:
            if worker.alive:
                idle.put(worker)
            else:
                with starting:
                    leases[worker.gpu] -= 1

    pool = ThreadPoolExecutor(jobs)
    patience = 0.0
    try:
        yield lambda *work: pool.submit(carry_out, *work)
    except Terminated:
        patience = PATIENCE
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        with starting:
            over = True
        deadline = time.monotonic() + patience
        for worker in started:
            worker.ask_to_end()
        for worker in started:
            worker.end(deadline)
        pool.shutdown()


class _Worker:
    """A worker process, from the perspective of its parent.

    Attributes:
        gpu: the only GPU that it sees, by its name in CUDA_VISIBLE_DEVICES; None if it sees those of its parent.
    """

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu
        command = [sys.executable, "-c", _START, json.dumps(sys.path)]
        environment = os.environ if gpu is None else os.environ | {"CUDA_VISIBLE_DEVICES": gpu}
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def carry_out(self, work: Work, tell: Progress) -> None:
        """Send the worker one task and wait until it ends.

        Raises:
            UserError: the task cannot be sent to the worker, or the worker was killed.
            Exception: what the task raised.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            content = pickle.dumps(work)
        except Exception as problem:  # pickle raises many kinds, and so do the objects that it asks for their state
            raise UserError(
                f"`{work[0].name}` cannot be sent to another process, because a part of the recipe cannot: {problem}. "
                "Define its classes at the top of a module, or run one task at a time with --jobs 1."
            ) from problem
        try:
            process.stdin.write(content)
            process.stdin.flush()
            while isinstance(message := pickle.load(process.stdout), tuple):  # noqa: S301
                tell(*message)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise UserError(_ended(work[0], process.wait())) from None
        if message is not None:
            raise message

    def ask_to_end(self) -> None:
        """Let the process write a checkpoint and end."""
        self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the end of the process until `deadline`, in seconds of the monotonic clock, and then kill it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # data that was not sent is lost on purpose
                    stream.close()


def _ended(task: Task, code: int) -> str:
    if code == EXIT_CODE:
        return f"The worker process of `{task.name}` was ended by SIGTERM. Run the same command to resume."
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return (
        f"The worker process of `{task.name}` {how}. The operating system kills processes when memory runs out: "
        "run the same command again, with fewer --jobs if that was it. What was finished is kept."
    )


def serve() -> NoReturn:
    """Run the tasks that arrive at standard input until it ends, for example when the parent process ends.

    Standard output returns messages to the parent. Output that libraries print goes to standard error. After SIGTERM,
    the process ends with exit code 143, and the task has written a checkpoint.
    """
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    torch.set_num_threads(1)
    session = Session()
    end_on(signal.SIGTERM)
    try:
        while True:
            work = requests.get()
            _reply(replies, work if isinstance(work, Exception) else _carry_out(session, work, replies))
    except Terminated:
        os._exit(EXIT_CODE)


def _read(stream: IO[bytes], requests: "queue.SimpleQueue[Any]") -> None:
    while True:
        try:
            requests.put(pickle.load(stream))  # noqa: S301
        except EOFError:
            os._exit(0)
        except (AttributeError, ImportError) as problem:
            requests.put(
                UserError(
                    f"A worker process cannot find a class of the recipe ({problem}). Define it in a module that can "
                    "be imported, "
                    "not in the script that is run; or run one task at a time, with jobs=1."
                )
            )


def _carry_out(session: Session, work: Work, replies: IO[bytes]) -> Exception | None:
    task, recipe, out, compute, metrics = work
    try:
        for metric in metrics:
            register(metric)
        session.do(task, recipe, out, compute, lambda *message: _reply(replies, message))
    except Exception as problem:
        said = in_words(problem)
        problem_in_words = problem if said is None else UserError(said)
        problem_in_words.add_note(f"In the worker process of `{task.name}`:\n{traceback.format_exc()}")
        return problem_in_words
    return None


def _reply(replies: IO[bytes], message: Any) -> None:
    try:
        content = pickle.dumps(message)
    except Exception:  # the exception has content that cannot be pickled
        content = pickle.dumps(RuntimeError(f"{type(message).__name__}: {message}"))
    replies.write(content)
    replies.flush()


def _naming(task: Task, progress: Progress) -> Progress:
    """Forward the progress of a task under its name, at most five times per second."""
    last = 0.0

    def report(name: str, done: int, total: int | None, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.2 or done == total:
            last = now
            progress(task.name if name.startswith(task.kind) else f"{task.name}: {name}", done, total, note)

    return report
