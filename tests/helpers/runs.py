"""Audits that take seconds, interruptions of runs, and comparisons of their logs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trapmid.audit.recipe import Recipe
from trapmid.audit.run import run_audit
from trapmid.engine import Compute, read_log
from trapmid.recipes import choose_recipe

TINY_AUDIT = (
    "private.identities=4",
    "private.images_per_identity=12",
    "public.identities=8",
    "model.start.batch_size=16",
    "training.epochs=2",
    "training.batch_size=32",
    "judges.classifier.training.epochs=1",
    "attacks.plgmi.warm_start.iterations=2",
    "attacks.plgmi.prior.iterations=2",
    "attacks.plgmi.search_steps=2",
    "attacks.plgmi.candidates=6",
    "robustness=null",
)
"""Changes of the recipe `demo`."""


def tiny_recipe(*changes: str) -> Recipe:
    """A recipe with one classifier and one attack."""
    return choose_recipe("demo", changes=(*TINY_AUDIT, *changes), defenses=("none",), attacks=("plgmi",))


def scores_of(recipe: Recipe, out: Path, **where: Any) -> bytes:
    """The file of scores of an audit on the CPU; `where` has arguments of `run_audit`."""
    run_audit(recipe, out, compute=Compute("cpu"), **where)
    return (out / "scores.json").read_bytes()


class Killed(BaseException):
    """Stands for Ctrl-C: no `except Exception` may catch it."""


def kill_after(calls: int) -> Callable[[str, int, int | None, str], None]:
    """A progress callback that raises `Killed` when it has been called this often."""
    left = calls

    def progress(task: str, done: int, total: int | None, note: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return progress


def without_seconds(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows of a log without the one number that may differ between runs."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def log_of(folder: Path) -> list[dict[str, float]]:
    """The rows of a training's log, without seconds."""
    return without_seconds(read_log(folder / "log.jsonl"))
