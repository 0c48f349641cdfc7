"""All statistics, by name: numbers with bounds that depend on a training, a search or random draws."""

from helpers.statistics.attacks import OF_ATTACKS, small_target
from helpers.statistics.judging import OF_JUDGES, judge_of, model_of
from helpers.statistics.recorded import RECORDED
from helpers.statistics.statistic import Statistic
from helpers.statistics.trainings import OF_TRAININGS
from helpers_attacks import trained_prior

STATISTICS: dict[str, Statistic] = {**RECORDED, **OF_TRAININGS, **OF_JUDGES, **OF_ATTACKS}
"""`STATISTICS["gain of plgmi"].check()` is a test."""


def forget() -> None:
    """Train what statistics share anew from now on, for a measurement in another rounding."""
    for shared in (small_target, trained_prior, judge_of, model_of):
        shared.cache_clear()
