"""Runs one computation in several processes that train together, each on a device of its own."""

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TypeVar

import torch
from torch import distributed

from trapmid.engine.compute import Compute
from trapmid.engine.progress import Progress, no_progress
from trapmid.errors import in_words
from trapmid.types import UserError

T = TypeVar("T")

_START = """
import signal
for name in ("SIGINT", "SIGTERM"):  # they may reach the whole group; the parent process ends the others itself
    signal.signal(getattr(signal, name), signal.SIG_IGN)
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from trapmid.engine.processes import take_part
take_part(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
"""
"""The program of one process. Unlike a process of `multiprocessing`, it does not import the parent's main script."""


def run_together(work: Callable[..., T], *arguments: Any, compute: Compute, progress: Progress) -> T:
    """Run `work(*arguments, compute, progress)` in `compute.devices` processes, and return the result of the first one.

    The processes form the default process group of `torch.distributed`: gloo on CPUs, nccl on GPUs. Each of them gets a
    `compute` with a device of its own, and uses one thread on a CPU. All of them end with this function, whatever
    happens.

    Args:
        work: a function of a module. It is called in every process with the same arguments.
        arguments: its first arguments, which can be pickled.
        compute: device, precision and number of processes.
        progress: called with the progress of the first process.

    Raises:
        UserError: a process was killed or cannot find the class of an argument, or an argument cannot be pickled.
        Exception: what the first process to fail raised.
    """
    content = _content(work, arguments, compute)
    messages: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    parts: list[_Part] = []
    with TemporaryDirectory(prefix="trapmid-") as folder:
        try:
            for rank in range(compute.devices):
                parts.append(_Part(rank, compute, Path(folder), messages))
                threading.Thread(target=parts[-1].talk, args=(content,), daemon=True).start()
            results: dict[int, T] = {}
            while len(results) < compute.devices:
                rank, (kind, value) = messages.get()
                if kind == "progress":
                    progress(*value)
                elif kind == "failed":
                    raise value
                else:
                    results[rank] = value
            return results[0]
        finally:
            for part in parts:
                part.end()


def _content(*what: Any) -> bytes:
    try:
        return pickle.dumps(what)
    except UserError:
        raise
    except Exception as problem:  # pickle raises many kinds, and so do the objects that it asks for their state
        raise UserError(
            f"The work cannot be shared with other processes, because a part of it cannot be sent to them: {problem}. "
            "Leave out --devices."
        ) from problem


class _Part:
    """One of the processes, from the perspective of their parent."""

    def __init__(
        self, rank: int, compute: Compute, folder: Path, messages: "queue.SimpleQueue[tuple[int, Any]]"
    ) -> None:
        self._rank, self._count, self._messages = rank, compute.devices, messages
        store = str(folder / "store")
        command = [sys.executable, "-c", _START, json.dumps(sys.path), str(rank), str(self._count), store]
        sees = {**os.environ, **compute.seen_by_process(rank)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=sees)  # noqa: S603

    def talk(self, content: bytes) -> None:
        """Send the process its work, and forward its messages until it ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(content)
            self._process.stdin.flush()
            while True:
                self._messages.put((self._rank, pickle.load(self._process.stdout)))  # noqa: S301
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._messages.put((self._rank, ("failed", UserError(self._ended(self._process.wait())))))

    def end(self) -> None:
        """End the process, even if it is working."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # data that was not sent is lost on purpose
                    stream.close()

    def _ended(self, code: int) -> str:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return (
            f"Process {self._rank} of the {self._count} that train together {how}. The operating system kills "
            "processes when memory runs out: run the same command again, with fewer --devices or --jobs if that was "
            "it. It goes on from the last checkpoint."
        )


def take_part(rank: int, count: int, store: str) -> NoReturn:
    """Do the work of one process, which arrives at standard input. Messages to the parent go to standard output.

    A process that is finished or has failed waits for its parent to end it. Otherwise, the others might report the loss
    of their connection before the parent knows why. It ends when its parent does.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    torch.set_num_threads(1)

    def reply(kind: str, value: Any) -> None:
        replies.write(_pickled(kind, value))
        replies.flush()

    try:
        work, arguments, compute = pickle.load(sys.stdin.buffer)  # noqa: S301
    except (AttributeError, ImportError) as problem:
        told = UserError(
            f"A process of a training cannot find one of its classes ({problem}). Define it in a module that can be "
            "imported, not in the script that is run; or use one device."
        )
        reply("failed", told)
    else:
        ending = threading.Thread(target=_end_with_parent, daemon=True)
        ending.start()
        tell = no_progress if rank else lambda *message: reply("progress", message)
        try:
            mine = replace(compute, devices=1)
            _join(mine.torch_device, rank, count, store)
            reply("done", work(*arguments, compute=mine, progress=tell))
        except Exception as problem:
            reply("failed", _told(problem, rank))
        ending.join()
    _end_with_parent()


def _join(device: torch.device, rank: int, count: int, store: str) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=count)


def _end_with_parent() -> NoReturn:
    sys.stdin.buffer.read()
    os._exit(0)


def _told(problem: Exception, rank: int) -> Exception:
    said = in_words(problem)
    problem_in_words = problem if said is None else UserError(said)
    problem_in_words.add_note(f"In process {rank} of a training:\n{traceback.format_exc()}")
    return problem_in_words


def _pickled(kind: str, value: Any) -> bytes:
    try:
        return pickle.dumps((kind, value))
    except Exception:  # the exception has content that cannot be pickled
        return pickle.dumps((kind, RuntimeError(f"{type(value).__name__}: {value}")))
