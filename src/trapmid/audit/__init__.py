"""The audit: defenses x attacks x seeds, planned, run side by side, resumed, measured."""

from trapmid.audit.plan import Folders, Task, plan
from trapmid.audit.recipe import Recipe

__all__ = ["Folders", "Recipe", "Task", "plan"]
