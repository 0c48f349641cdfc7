"""How a task reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None, str], None]
"""Called as progress(task, done, total, note); `total` is None while it is unknown."""


def no_progress(task: str, done: int, total: int | None, note: str) -> None:
    """Ignore all progress."""


def labelled(progress: Progress, label: str) -> Progress:
    """The same progress with `label` after the name of every task, for display; random streams do not depend on it."""
    return lambda task, done, total, note: progress(f"{task} {label}", done, total, note)
