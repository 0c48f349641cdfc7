"""A check: one promise of a contract, as a function that can be called and named."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import final
from unittest.mock import patch
from weakref import finalize

from trapmid.engine import Progress


@final
@dataclass(frozen=True)
class Check:
    """One promise of a contract.

    Attributes:
        name: of the promise, in words joined by underscores.
        run: tries it in an empty folder; raises `AssertionError` where the promise is broken.
    """

    name: str
    run: Callable[[Path], None]

    def __call__(self, folder: Path) -> None:
        """Try the promise in an empty folder."""
        self.run(folder)

    def __str__(self) -> str:
        """The name, for `pytest.mark.parametrize(..., ids=str)`."""
        return self.name


class Interrupted(BaseException):
    """Stands for Ctrl-C: no `except Exception` catches it."""


def interrupt_after(steps: int) -> Progress:
    """A progress callback that raises `Interrupted` when it is called for the `steps`-th time."""
    left = steps

    def progress(task: str, done: int, total: int | None, note: str) -> None:
        nonlocal left
        del task, done, total, note
        left -= 1
        if left == 0:
            raise Interrupted

    return progress


@contextmanager
def checkpoint_every_period() -> Iterator[None]:
    """Within, loops write a checkpoint after every period of their log instead of by the clock."""
    with patch("trapmid.engine.loop.CHECKPOINT_SECONDS", 0.0):
        yield


def folder_of(trial: object) -> Path:
    """A new folder, which is removed when `trial` is no longer used, and at the latest when the program ends."""
    folder = Path(mkdtemp(prefix="trapmid-testing-"))
    finalize(trial, rmtree, folder, ignore_errors=True)
    return folder


def expect(holds: bool, otherwise: str) -> None:
    """Fail with a sentence that tells the author of the member what to change.

    Raises:
        AssertionError: it does not hold.
    """
    if not holds:
        raise AssertionError(otherwise)
