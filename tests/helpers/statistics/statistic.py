"""Numbers that depend on a training, a search or random draws, with the bounds that tests check."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Statistic:
    """Some numbers as a function of a seed, each with the open interval in which it has to lie.

    A test checks one seed; `tests/spreads.py` measures many, and in other roundings, and says how far from the bounds
    they stay.
    """

    measure: Callable[[int], dict[str, float]]
    bounds: dict[str, tuple[float, float]]

    def check(self, seed: int = 0) -> None:
        """Measure once, and check that every number is within its bounds."""
        self.hold(self.measure(seed))

    def hold(self, values: dict[str, float]) -> None:
        """Check that numbers that were measured are within their bounds."""
        assert values.keys() == self.bounds.keys()
        outside = {name: values[name] for name, (low, high) in self.bounds.items() if not low < values[name] < high}
        assert not outside, (
            f"{outside} lie outside of {self.bounds}; docs/experiments/test-spreads.md has their spreads"
        )


def above(low: float) -> tuple[float, float]:
    """Every number above `low`."""
    return low, inf


def below(high: float) -> tuple[float, float]:
    """Every number below `high`."""
    return -inf, high


def within(radius: float, centre: float = 0.0) -> tuple[float, float]:
    """Every number nearer to `centre` than `radius`."""
    return centre - radius, centre + radius
