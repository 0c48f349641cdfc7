"""Benchmarks of time and memory, as ratios within one run, which differ less between machines than seconds do."""

import os

import torch

from benchmarks.augmentation import augmentation
from benchmarks.hot_paths import hot_paths
from benchmarks.layouts import layouts
from benchmarks.memory import memory
from benchmarks.orders import orders
from benchmarks.selection import selection
from benchmarks.steps import steps
from benchmarks.timing import Bench, Group, Measurement
from benchmarks.trainings import trainings
from benchmarks.watching import watching
from trapmid.engine import Compute, Progress, no_progress, randomness
from trapmid.types import UserError

GROUPS: dict[str, Group] = {
    "steps": steps,
    "trainings": trainings,
    "orders": orders,
    "selection": selection,
    "watching": watching,
    "layouts": layouts,
    "augmentation": augmentation,
    "memory": memory,
    "hot-paths": hot_paths,
}


def run(
    device: str = "cpu", quick: bool = False, only: tuple[str, ...] = (), progress: Progress = no_progress
) -> list[Measurement]:
    """Run the benchmarks, with one thread unless OMP_NUM_THREADS is set.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        quick: use small sizes and few repeats, which takes seconds instead of minutes and gives rough numbers.
        only: names in `GROUPS`; all groups if it is empty.
        progress: called after every measurement.

    Raises:
        UserError: a group is not known.
    """
    unknown = [name for name in only if name not in GROUPS]
    if unknown:
        raise UserError(f"--only {' '.join(unknown)}: there is no such group. Expected some of {', '.join(GROUPS)}.")
    chosen = only or tuple(GROUPS)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]))
    found: list[Measurement] = []
    try:
        compute = Compute(device)
        with randomness(0, "bench", device=compute.torch_device):
            bench = Bench(compute, quick=quick)
            for done, name in enumerate(chosen):
                for part in GROUPS[name](bench):
                    progress("bench", done, len(chosen), f"{name}: {len(found)} measured")
                    found.append(part.measure())
        progress("bench", len(chosen), len(chosen), "")
    finally:
        torch.set_num_threads(threads)
    return found


__all__ = ["GROUPS", "Measurement", "run"]
