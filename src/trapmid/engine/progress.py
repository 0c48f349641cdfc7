"""How a task tells whoever watches how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None, str], None]
"""Called as progress(task, done, total, note); `total` is None while it is unknown."""


def no_progress(task: str, done: int, total: int | None, note: str) -> None:
    """Watch nothing."""


def labelled(progress: Progress, label: str) -> Progress:
    """Tell `progress` of every task that it is `label`'s: a display may say so, a random stream must not depend on it."""
    return lambda task, done, total, note: progress(f"{task} {label}", done, total, note)
