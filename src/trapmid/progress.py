"""How the progress of tasks is shown on stderr or in a notebook. Imports neither torch nor pydantic."""

import dataclasses
import importlib.util
import time
from threading import RLock
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from trapmid.terminal import SafeConsole, visible

OVERALL = "audit"
"""The progress task that counts tasks."""

_err = SafeConsole(stderr=True)


def clock(seconds: float) -> str:
    """Seconds as a text: `42 s`, `3 min 05 s`, `1 h 12 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Watch:
    """Shows a bar for each running task and one for all; where none can be drawn, it prints a line now and then.

    Bars are drawn on a terminal, and in a notebook that has ipywidgets.

    An instance is an `engine.Progress` and may be called from any thread. `train none seed 0: load images` names a
    phase of the task `train none seed 0` and uses its bar.

    Args:
        console: where to show it; default: stderr.
        every: the fewest seconds between two lines of one task.
    """

    def __init__(self, console: Console | None = None, every: float = 10.0) -> None:
        self._console = console or _err
        self._every = every
        self._lock = RLock()
        self._begun = time.monotonic()
        self._bars: dict[str, TaskID] = {}
        self._lines: dict[str, _Line] = {}
        self._live: Progress | None = None
        if self._console.is_terminal or (self._console.is_jupyter and importlib.util.find_spec("ipywidgets")):
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False, style="dim"),
                console=self._console,
                refresh_per_second=4,
                speed_estimate_period=120,
                transient=True,
            )

    def __enter__(self) -> "Watch":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, task: str, done: int, total: int | None, note: str) -> None:
        """Show how far a task is."""
        with self._lock:
            if self._live is not None:
                self._bar(self._live, task, done, total, note)
            elif task == OVERALL:
                if done or note:
                    self._print("  ".join([f"{done} of {total} tasks", note] if note else [f"{done} of {total} tasks"]))
            else:
                self._line(task, done, total, note)

    def _bar(self, live: Progress, task: str, done: int, total: int | None, note: str) -> None:
        key, text = task.partition(": ")[0], "all tasks" if task == OVERALL else visible(task)
        over = total is not None and done >= total and task != OVERALL
        if over:
            if key in self._bars:
                live.remove_task(self._bars.pop(key))
        elif key not in self._bars:
            self._bars[key] = live.add_task(text, total=total, completed=done, note=visible(note))
        else:
            bar = live.tasks[live.task_ids.index(self._bars[key])]
            if bar.description != text or done < bar.completed:  # the next phase: its speed is not that of the last one
                live.reset(bar.id, completed=done, total=total, description=text, note=visible(note))
            else:
                live.update(bar.id, completed=done, total=total, note=visible(note))

    def _line(self, task: str, done: int, total: int | None, note: str) -> None:
        now = time.monotonic()
        over = total is not None and done >= total
        line = self._lines.get(task)
        if line is None or (line.over and not over):  # a new task of the same name, which is timed from its own start
            line = self._lines[task] = _Line(now, done)
        # Long runs need fewer lines: one in ten seconds at the start, one a minute later.
        wait = max(self._every, min(6 * self._every, (now - self._begun) / 20))
        if line.printed is not None and now - line.printed < wait and not over:
            return
        if over and line.over:
            return
        line.printed, line.over = now, over
        parts = [task] if done == 0 and total is None else [task, f"{done}/{total if total is not None else '?'}"]
        if over:
            parts.append(f"done in {clock(now - line.begun)}")
        elif total is not None and done > line.first:
            parts.append(f"about {clock((now - line.begun) / (done - line.first) * (total - done))} left")
        self._print("  ".join([*parts, note] if note else parts))

    def _print(self, text: str) -> None:
        said = visible(f"[{clock(time.monotonic() - self._begun)}] {text}")
        self._console.print(said, markup=False, soft_wrap=True)


@dataclasses.dataclass
class _Line:
    begun: float
    first: int
    printed: float | None = None
    over: bool = False
