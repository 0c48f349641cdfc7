"""Two ways of doing something, timed in turns, so that a busy machine slows both sides alike; the ratio is the median over the turns."""

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
        name: short and unique.
        what: what is compared, in words.
        baseline: what is compared with, in `unit`; of times the median over the turns.
        value: the other.
        ratio: value / baseline; of times the median over the turns. Below 1, the other way is better.
        unit: of both.
        note: what to make of it.
    """

    name: str
    what: str
    baseline: float
    value: float
    ratio: float
    unit: Literal["s", "MiB"] = "s"
    note: str = ""


class Measurable(Protocol):
    """What the benchmark can measure."""

    def measure(self) -> Measurement:
        """Measure it."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two ways of doing something.

    Attributes:
        name: short and unique.
        what: the two ways, in words.
        baseline: the way that is compared with.
        other: the other way.
        repeats: turns that count.
        device: where they compute.
        note: what to make of it.
        same: how far entries of the two results, tensors, may be apart; None where the ways do different things.
    """

    name: str
    what: str
    baseline: Work
    other: Work
    repeats: int
    device: torch.device
    note: str = ""
    same: float | None = None

    def measure(self) -> Measurement:
        """Time both in turns, after a turn that does not count."""
        times = [(self._time(self.baseline), self._time(self.other)) for _ in range(self.repeats + 1)][1:]
        first, second = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        return Measurement(self.name, self.what, first, second, ratio, note=self.note)

    def _time(self, work: Work) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Setting:
    """Where and how large.

    Attributes:
        compute: device and precision.
        quick: whether repeats and sizes are small.
        batch: images of one step.
        size: their height and width.
        images: (batch, 3, size, size).
        labels: (batch,), of `CLASSES`.
    """

    def __init__(self, compute: Compute, *, quick: bool) -> None:
        self.compute, self.quick = compute, quick
        self.repeats, self.batch, self.size = (1, 4, 32) if quick else (15, 64, 64)
        self.images: Images = self.uniform("images", self.batch, 3, self.size, self.size)
        self.labels: Labels = (self.uniform("labels", self.batch) * CLASSES).long()

    @property
    def device(self) -> torch.device:
        """Where."""
        return self.compute.torch_device

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Random numbers between 0 and 1, on the device."""
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
        """A comparison in as many turns as there are repeats, or as one `share`-th of them."""
        return Comparison(name, what, baseline, other, max(1, self.repeats // share), self.device, note, same)


Group = Callable[[Setting], Iterator[Measurable]]
