"""What trainings, searches and draws decide stays within its bounds; docs/experiments/test-spreads.md has how far from them."""

import pytest

from helpers.statistics import STATISTICS


@pytest.mark.parametrize("name", STATISTICS)
def test_stays_within_its_bounds(name: str) -> None:
    STATISTICS[name].check()
