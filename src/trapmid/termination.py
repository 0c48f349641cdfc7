"""What SIGTERM does: the running loop writes a checkpoint, then the process ends.

Batch systems send SIGTERM before they take a machine away. This module imports nothing else of trapmid.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
"""The exit code of a process that ended because of SIGTERM: 143, as shells have it."""

_postponing = 0
_wanted = False


class Terminated(BaseException):
    """The process was asked to end. No `except Exception` catches it.

    Attributes:
        saved: whether a checkpoint was written after the request.
    """

    def __init__(self, saved: bool = False) -> None:
        super().__init__()
        self.saved = saved


def end_on(*signals: signal.Signals) -> None:
    """Let each of these signals raise `Terminated` in the main thread, where nothing postpones it.

    Only the first signal counts: another one would interrupt what the first one began.
    """
    global _wanted

    def end(_number: int, _frame: FrameType | None) -> None:
        global _wanted
        for one in signals:
            signal.signal(one, signal.SIG_IGN)
        _wanted = True
        if not _postponing:
            raise Terminated

    _wanted = False
    for one in signals:
        signal.signal(one, end)


@contextmanager
def postponed() -> Iterator[Callable[[], bool]]:
    """Postpone `Terminated` to the end of the block.

    Yields:
        A function that returns whether the process was asked to end. The block should then save its state, and leave.
    """
    global _postponing
    _postponing += 1
    try:
        yield lambda: _wanted
    finally:
        _postponing -= 1
        if _wanted and not _postponing and not isinstance(sys.exception(), Terminated):
            raise Terminated
