"""Every number that tests bound and that a training, a search or a draw decides, by name."""

from helpers.statistics.attacks import OF_ATTACKS
from helpers.statistics.judging import OF_JUDGES
from helpers.statistics.recorded import RECORDED
from helpers.statistics.statistic import Statistic
from helpers.statistics.trainings import OF_TRAININGS

STATISTICS: dict[str, Statistic] = {**RECORDED, **OF_TRAININGS, **OF_JUDGES, **OF_ATTACKS}
"""`STATISTICS["gain of plgmi"].check()` is a test."""
