"""The audit: defenses x attacks x seeds, planned, run side by side, resumed, measured."""

from trapmid.audit.plan import Folders, Task, plan
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import measure_finished, run_audit

__all__ = ["Folders", "Recipe", "Task", "measure_finished", "plan", "run_audit"]
