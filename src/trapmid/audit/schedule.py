"""How long the tasks of a plan take on several machines, computed without running them."""

from collections.abc import Hashable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeVar

TaskT = TypeVar("TaskT", bound=Hashable)


def critical_path(needs: Mapping[TaskT, Sequence[TaskT]], seconds: Mapping[TaskT, float]) -> tuple[TaskT, ...]:
    """The longest chain of tasks that wait for each other. No number of machines is faster than it.

    Args:
        needs: all tasks, each with the tasks that it needs. A task comes after those.
        seconds: how long each task takes.
    """
    ends: dict[TaskT, float] = {}
    before: dict[TaskT, TaskT | None] = {}
    for task, needed in needs.items():
        last = max(needed, key=ends.__getitem__, default=None)
        before[task] = last
        ends[task] = seconds[task] + (0.0 if last is None else ends[last])
    chain, step = [], max(ends, key=ends.__getitem__, default=None)
    while step is not None:
        chain.append(step)
        step = before[step]
    return tuple(reversed(chain))


def starts(needs: Mapping[TaskT, Sequence[TaskT]], seconds: Mapping[TaskT, float], machines: int) -> dict[TaskT, float]:
    """When each task starts, in seconds from the beginning, in the order of their starts.

    This is the scheduler of `audit.run` as a simulation: a free machine takes the first task in the plan whose needs
    are finished (list scheduling, R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 17,
    1969).

    Args:
        needs: all tasks in the order of the plan, each with the tasks that it needs.
        seconds: how long each task takes.
        machines: number of tasks that run at the same time, at least 1.
    """
    tasks = list(needs)
    order = {task: number for number, task in enumerate(tasks)}
    waits = {task: set(needed) for task, needed in needs.items()}
    waited_by: dict[TaskT, list[TaskT]] = {task: [] for task in tasks}
    for task, needed in waits.items():
        for one in needed:
            waited_by[one].append(task)
    ready = [order[task] for task in tasks if not waits[task]]
    heapify(ready)
    running: list[tuple[float, int]] = []
    began: dict[TaskT, float] = {}
    now = 0.0
    while ready or running:
        while ready and len(running) < machines:
            number = heappop(ready)
            began[tasks[number]] = now
            heappush(running, (now + seconds[tasks[number]], number))
        now = running[0][0]
        while running and running[0][0] == now:
            _, number = heappop(running)
            for task in waited_by[tasks[number]]:
                waits[task].remove(tasks[number])
                if not waits[task]:
                    heappush(ready, order[task])
    return began


def wall_clock(needs: Mapping[TaskT, Sequence[TaskT]], seconds: Mapping[TaskT, float], machines: int) -> float:
    """The seconds from the first start to the last end, with the arguments of `starts`."""
    began = starts(needs, seconds, machines)
    return max((start + seconds[task] for task, start in began.items()), default=0.0)
