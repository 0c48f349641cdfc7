"""All statistics, by name: numbers with bounds that depend on a training, a search or random draws."""

from helpers.statistics.attacks import OF_ATTACKS
from helpers.statistics.judging import OF_JUDGES
from helpers.statistics.recorded import RECORDED
from helpers.statistics.statistic import Statistic
from helpers.statistics.trainings import OF_TRAININGS

STATISTICS: dict[str, Statistic] = {**RECORDED, **OF_TRAININGS, **OF_JUDGES, **OF_ATTACKS}
"""`STATISTICS["gain of plgmi"].check()` is a test."""
