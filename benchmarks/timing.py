"""Timing of two ways of doing something, in turns, so that a busy machine slows both in the same way."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from trapmid.engine import Compute, generator
from trapmid.types import Images, Labels

CLASSES = 60
Work = Callable[[], object]


@dataclass(frozen=True)
class Measurement:
    """Two numbers and their ratio.

    Attributes:
        name: a short, unique name.
        what: a description of what is compared.
        baseline: the number to compare with, in `unit`. Times are medians over the turns.
        value: the other number, in `unit`.
        ratio: value / baseline. For times it is the median of the ratios of the turns. Below 1, the other way is
            better.
        unit: seconds or MiB.
        note: how to read the numbers.
    """

    name: str
    what: str
    baseline: float
    value: float
    ratio: float
    unit: Literal["s", "MiB"] = "s"
    note: str = ""


class Measurable(Protocol):
    """Anything that the benchmarks can measure."""

    def measure(self) -> Measurement:
        """Measure it."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two ways of doing something.

    Attributes:
        name: a short, unique name.
        what: a description of the two ways.
        baseline: the way to compare with.
        other: the other way.
        repeats: the number of turns that count.
        device: the device that both ways use.
        note: how to read the numbers.
        same: the largest absolute difference between the entries of the two results, which are tensors; None if the two
            ways give different results.
        clock: the time that counts, in seconds.
    """

    name: str
    what: str
    baseline: Work
    other: Work
    repeats: int
    device: torch.device
    note: str = ""
    same: float | None = None
    clock: Callable[[], float] = time.perf_counter

    def measure(self) -> Measurement:
        """Time both ways in turns, after one turn that does not count."""
        times = [(self._time(self.baseline), self._time(self.other)) for _ in range(self.repeats + 1)][1:]
        first, second = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        return Measurement(self.name, self.what, first, second, ratio, note=self.note)

    def _time(self, work: Work) -> float:
        self._wait()
        started = self.clock()
        work()
        self._wait()
        return self.clock() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Bench:
    """The device and the sizes of the benchmarks.

    Attributes:
        compute: device and precision.
        quick: whether repeats and sizes are small.
        batch: images in one step.
        size: height and width of images, in pixels.
        images: random images (batch, 3, size, size) in [0, 1].
        labels: random labels (batch,), from 0 to `CLASSES` - 1.
    """

    def __init__(self, compute: Compute, *, quick: bool) -> None:
        self.compute, self.quick = compute, quick
        self.repeats, self.batch, self.size = (1, 4, 32) if quick else (15, 64, 64)
        self.images: Images = self.uniform("images", self.batch, 3, self.size, self.size)
        self.labels: Labels = (self.uniform("labels", self.batch) * CLASSES).long()

    @property
    def device(self) -> torch.device:
        """The device."""
        return self.compute.torch_device

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Uniform random numbers between 0 and 1, on the device."""
        return torch.rand(*shape, generator=generator(0, "bench", purpose)).to(self.device)

    def compare(
        self,
        name: str,
        what: str,
        baseline: Work,
        other: Work,
        *,
        note: str = "",
        share: int = 1,
        same: float | None = None,
    ) -> Comparison:
        """A comparison with `repeats` turns, divided by `share`, and at least one turn."""
        return Comparison(name, what, baseline, other, max(1, self.repeats // share), self.device, note, same)


Group = Callable[[Bench], Iterator[Measurable]]
