"""What searches and surrogates decide stays within its bounds.

docs/experiments/test-spreads.md has how far from them.
"""

import pytest

from helpers.statistics.attacks import OF_ATTACKS


@pytest.mark.parametrize("name", OF_ATTACKS)
def test_stays_within_its_bounds(name: str) -> None:
    OF_ATTACKS[name].check()
