"""Contract checks for members of your own: the same that every member of the package passes.

Each function takes a member and returns a list of checks. With pytest::

    from trapmid.testing import defense_checks

    @pytest.mark.parametrize("check", defense_checks(MyDefense()), ids=str)
    def test_my_defense(check, tmp_path):
        check(tmp_path)

A check raises `AssertionError` with a sentence that says what to change. Data and networks are tiny and drawn by
code, so that the checks of a member take seconds on a CPU.
"""

from trapmid.testing.attacks import attack_checks
from trapmid.testing.check import Check
from trapmid.testing.defenses import defense_checks
from trapmid.testing.metrics import metric_checks
from trapmid.testing.sources import source_checks

__all__ = ["Check", "attack_checks", "defense_checks", "metric_checks", "source_checks"]
