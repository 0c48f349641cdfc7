"""Interrupting runs, and comparing what is left of them."""

from collections.abc import Callable
from pathlib import Path

from trapmid.engine import read_log


class Killed(BaseException):
    """Stands for Ctrl-C: no `except Exception` may catch it."""


def kill_after(calls: int) -> Callable[[str, int, int | None, str], None]:
    """A progress callback that raises `Killed` when it has been called this often."""
    left = calls

    def progress(task: str, done: int, total: int | None, note: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return progress


def without_seconds(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows of a log without the one number that may differ between runs."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def log_of(folder: Path) -> list[dict[str, float]]:
    """The rows of a training's log, without seconds."""
    return without_seconds(read_log(folder / "log.jsonl"))
