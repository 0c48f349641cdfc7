"""What judges and detectors decide stays within its bounds; docs/experiments/test-spreads.md has how far from them."""

import pytest

from helpers.statistics.judging import OF_JUDGES


@pytest.mark.parametrize("name", OF_JUDGES)
def test_stays_within_its_bounds(name: str) -> None:
    OF_JUDGES[name].check()
