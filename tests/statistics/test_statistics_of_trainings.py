"""What trainings decide stays within its bounds; docs/experiments/test-spreads.md has how far from them."""

import pytest

from helpers.statistics.trainings import OF_TRAININGS


@pytest.mark.parametrize("name", OF_TRAININGS)
def test_stays_within_its_bounds(name: str) -> None:
    OF_TRAININGS[name].check()
