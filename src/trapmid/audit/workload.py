"""What is left of an audit, how long it takes, and how it would run on several machines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trapmid.audit.plan import Folders, Task, plan
from trapmid.audit.recipe import Recipe
from trapmid.audit.schedule import critical_path, wall_clock


@dataclass(frozen=True)
class Line:
    """One task of a plan.

    Attributes:
        folder: the folder of its audit.
        task: the task.
        seconds: estimated time on one core or one GPU; None if it is not known.
        done: whether its artifact exists.
        needs: the tasks of the same folder that are finished before it starts.
    """

    folder: Path
    task: Task
    seconds: float | None
    done: bool
    needs: tuple[Task, ...]


@dataclass(frozen=True)
class Workload:
    """The tasks of one audit, or of several that run one after another. Unknown times count as nothing.

    Attributes:
        lines: every task, in order.
    """

    lines: tuple[Line, ...]

    @property
    def left(self) -> tuple[Line, ...]:
        """The tasks that are not done."""
        return tuple(line for line in self.lines if not line.done)

    @property
    def seconds(self) -> float:
        """The seconds of all tasks that are not done, one after another."""
        return sum((line.seconds or 0.0 for line in self.left), 0.0)

    @property
    def known(self) -> bool:
        """Whether the time of a task that is not done is known."""
        return any(line.seconds is not None for line in self.left)

    def wall_clock(self, machines: int) -> float:
        """The seconds until everything is done if as many tasks run at the same time, each on a core or GPU."""
        return sum((wall_clock(*graph, machines) for graph in self._graphs()), 0.0)

    def critical_path(self) -> tuple[tuple[Task, ...], float]:
        """The longest chain of tasks that wait for each other, folder after folder, and its seconds.

        If no time is known, it is the chain of the most tasks.
        """
        chains = [(critical_path(*graph), graph[1]) for graph in self._graphs(unknown=0.0 if self.known else 1.0)]
        chain = tuple(task for tasks, _ in chains for task in tasks)
        return chain, sum((seconds[task] for tasks, seconds in chains for task in tasks), 0.0) if self.known else 0.0

    def _graphs(self, unknown: float = 0.0) -> Iterator[tuple[dict[Task, tuple[Task, ...]], dict[Task, float]]]:
        """The tasks of each folder that are not done, with their needs and seconds."""
        for folder in dict.fromkeys(line.folder for line in self.left):
            lines = {line.task: line for line in self.left if line.folder == folder}
            needs = {task: tuple(one for one in line.needs if one in lines) for task, line in lines.items()}
            yield needs, {task: unknown if line.seconds is None else line.seconds for task, line in lines.items()}


def workload(recipe: Recipe, root: Path, seconds: Callable[[Task], float | None]) -> Workload:
    """All tasks of a recipe in a run folder. Pretrained starts count as to do: other runs may have made them already.

    Args:
        recipe: the audit.
        root: its run folder, which need not exist.
        seconds: how long a task takes, on one core or one GPU; None if it is not known.
    """
    folders = Folders(root)
    return Workload(
        tuple(Line(root, task, seconds(task), folders.has(task), needs) for task, needs in plan(recipe).items())
    )


def plan_of_audit(work: Workload, jobs: int | None, unit: str) -> str:
    """The tasks of one audit in words, with hours, critical path and wall clock.

    Args:
        work: the tasks.
        jobs: number of tasks that run at the same time; None for no limit.
        unit: what runs one task: `GPU` or `core`.
    """
    rows = [
        [line.task.name, "done" if line.done else "to do", "?" if line.seconds is None else hours(line.seconds)]
        for line in work.lines
    ]
    said = f"{len(work.left)} of {len(work.lines)} tasks are to do"
    took = f", which take about {hours(work.seconds)} {unit} hours." if work.known else ". How long is not known."
    return "\n\n".join([table(["task", "state", "hours"], rows), said + took, clock_text(work, jobs, unit)])


def clock_text(work: Workload, jobs: int | None, unit: str) -> str:
    """The simulated wall clock for several numbers of tasks at the same time, and the longest chain of tasks."""
    chain, longest = work.critical_path()
    if not chain:
        return "Nothing is left to do."
    waiting = f"the longest chain of tasks that wait for each other: {', '.join(task.name for task in chain)}."
    if not work.known:
        return f"The critical path by number of tasks has {len(chain)} of them. It is {waiting}"
    at_once = sorted({1, 8, 64, *(() if jobs is None else (jobs,))})
    rows = [
        [str(number), hours(taken := work.wall_clock(number)), _busy(work.seconds, number * taken)]
        for number in at_once
    ] + [["no limit", hours(longest), ""]]
    here = "The executor sets no limit." if jobs is None else f"This command would use {jobs}."
    several = " and one folder after the other" if len({line.folder for line in work.left}) > 1 else ""
    return (
        f"Simulated wall clock, with one task on each {unit}{several}. {here}\n\n"
        f"{table([f'{unit}s', 'hours', 'busy'], rows)}\n\n"
        f"What is left without a limit is the critical path, {waiting}"
    )


def _busy(worked: float, available: float) -> str:
    return f"{worked / available:.0%}" if available else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def hours(seconds: float) -> str:
    """Hours as text: `0.04`, `3.4`, `12`."""
    value = seconds / 3600
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2f}"
