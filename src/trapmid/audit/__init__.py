"""The audit: planning, running, resuming and measuring all combinations of defenses, attacks and seeds."""

from trapmid.audit.plan import Folders, Task, plan
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import measure_finished, run_audit

__all__ = ["Folders", "Recipe", "Task", "measure_finished", "plan", "run_audit"]
