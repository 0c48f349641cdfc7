"""What commands that work in a run folder share: choose or read a recipe, run it or a part of it, show what came out."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapmid.cli.options import Job, Machine, check_paths, parse_bytes
from trapmid.console import console, print_scores
from trapmid.errors import UserError
from trapmid.progress import Watch

if TYPE_CHECKING:
    from trapmid.audit import Task


def run_recipe(
    job: Job,
    machine: Machine,
    chosen: dict[str, Any],
    *,
    redact: bool = False,
    only: "Callable[[Task], bool] | None" = None,
) -> None:
    """Choose or read a recipe, run it or a part of it in its folder, and show what came out.

    Args:
        job: recipe, data, folder.
        machine: where.
        chosen: what `choose` takes instead of the recipe's members, seeds and identities; empty values leave the recipe's.
        redact: leave private images out of the report.
        only: the tasks that are wanted; without it the whole audit runs and is reported.
    """
    started = time.monotonic()
    check_paths(job.private, job.public)
    if negative := [seed for seed in chosen.get("seeds") or () if seed < 0]:
        raise UserError(f"Seed {negative[0]} is below zero. Expected whole numbers from 0 on.")
    if job.recipe is None and job.out is None:
        raise UserError("Name a recipe with --recipe (`trapmid list` shows them), or a run folder with --out.")
    if job.recipe is None and (job.changes or job.private or job.public):
        raise UserError("--set, --private and --public change a recipe: name it with --recipe.")
    with loading():
        from trapmid.artifacts import open_artifact
        from trapmid.audit.plan import Folders, plan
        from trapmid.audit.run import run, settle
        from trapmid.engine import Compute
        from trapmid.recipes import choose, with_defense
        from trapmid.report.write import write_report
    out = job.out or Path("runs") / str(job.recipe)
    if job.recipe is None:
        seeds = chosen.get("seeds")
        recipe = settle(None, out).model_copy(update={"seeds": seeds} if seeds else {})
        recipe = with_defense(recipe, chosen["also"]) if "also" in chosen else recipe
    else:
        given = {name: value or None for name, value in chosen.items()}
        recipe = choose(job.recipe, private=job.private, public=job.public, changes=job.changes, **given)
    recipe = settle(recipe, out)
    console.print(f"{recipe.name}: {recipe.about}\nRun folder: {out}  (interrupted, the same command resumes)")
    compute = Compute(machine.device, machine.precision, parse_bytes(machine.max_memory))
    with Watch() as progress:
        run(recipe, out, only=only, compute=compute, jobs=machine.jobs or None, progress=progress)
    done = [task for task in plan(recipe) if task.defense and (only is None or only(task))]
    for model in sorted({Folders(out).model(task.defense, task.seed) for task in done}):
        facts = open_artifact(model, "model").facts
        console.print(f"{model.name}: accuracy {facts['val_accuracy']:.1%} on validation images")
        for note in facts.get("notes", ()):
            console.print(f"  {note}")
        for warning in facts["warnings"]:
            console.print(f"  Warning: {warning}", style="yellow")
    if only is None:
        print_scores(out)
        console.print(f"Report: {write_report(out, redact=redact)}")
    console.print(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")


@contextmanager
def loading() -> Iterator[None]:
    """Something to see while torch loads, on a terminal and in a log alike."""
    said = "Loading torch (a few seconds) ..."
    if not console.is_terminal:
        print(said, file=sys.stderr, flush=True)
        yield
        return
    with console.status(said):
        yield
