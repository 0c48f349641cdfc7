"""Losses of tiny trainings are those that tests/golden records.

docs/experiments/test-spreads.md has the rounding they allow.
"""

import pytest

from helpers.statistics.recorded import RECORDED


@pytest.mark.parametrize("name", RECORDED)
def test_stays_within_its_bounds(name: str) -> None:
    RECORDED[name].check()
