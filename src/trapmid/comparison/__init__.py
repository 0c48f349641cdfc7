"""Comparing the audits of two models, from what their run folders hold."""

from trapmid.comparison.compare import Comparison, compare
from trapmid.comparison.differences import Difference

__all__ = ["Comparison", "Difference", "compare"]
