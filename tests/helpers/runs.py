"""Audits that take seconds, interruptions of runs, and comparisons of their logs."""

from collections.abc import Callable
from pathlib import Path

from trapmid.engine import read_log

TINY_AUDIT = (
    "private.identities=4",
    "private.images_per_identity=12",
    "public.identities=8",
    "training.epochs=2",
    "judges.classifier.training.epochs=1",
    "attacks.plgmi.warm_start.iterations=2",
    "attacks.plgmi.prior.iterations=2",
    "attacks.plgmi.search_steps=2",
    "attacks.plgmi.candidates=6",
    "robustness=null",
)
"""Changes of the recipe `demo`."""


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
