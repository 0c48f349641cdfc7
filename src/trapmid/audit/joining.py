"""Reads the recipe of a run folder, extends it and stores it."""

from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trapmid.audit.plan import Folders
from trapmid.audit.recipe import Recipe
from trapmid.config import explain
from trapmid.engine import Progress, no_progress
from trapmid.files import alone, write_atomic
from trapmid.manifests import RECIPE
from trapmid.reading import read_json
from trapmid.types import UserError


def settle(recipe: Recipe | None, out: Path, progress: Progress = no_progress) -> Recipe:
    """Return the recipe of the run folder `out`, and store there what `recipe` adds to it.

    Seeds, defenses, given models, attacks, judges, fidelity, robustness and the budget can be added to a folder at any
    time. Everything else has to stay as it is, because it determines the finished results. A given model that no
    examination has accepted has no results, so its settings may change: a message may have asked for that. Any number
    of processes may add to one folder at once. Each waits for the one before it, so nothing is lost.

    Args:
        recipe: the recipe to run; None to read the one that is stored.
        out: the run folder.
        progress: called while this process waits for another one.

    Raises:
        UserError: there is no recipe or it cannot be read, `recipe` would change existing settings or has a judge
            that is not allowed, or `out` is a file or lies below one.
    """
    file = next((path for path in (out, *out.parents) if path.exists()), out)
    if file.exists() and not file.is_dir():
        raise UserError(f"{file} is a file. Expected a folder for the run, one that is there or a new one.")
    stored = _read(out)
    if recipe is None:
        if stored is None:
            raise UserError(
                f"{out} holds no {RECIPE}, so it is no run folder. Name another one, or begin one with "
                "`trapmid audit --recipe NAME`: `trapmid list` shows them."
            )
        return stored
    recipe.check_starts()
    recipe.check_judges()
    recipe.check_networks()
    if stored is not None and stored == (joined := _join(stored, recipe, out)):
        return joined  # nothing to write, so that a finished run can be read in a read-only folder
    with alone(out / RECIPE, partial(progress, f"wait for another command that changes {out / RECIPE}", 0, None, "")):
        stored = _read(out)
        joined = recipe if stored is None else _join(stored, recipe, out)
        if joined != stored:
            write_atomic(out / RECIPE, joined.model_dump_json(indent=1) + "\n")
    return joined


def _read(out: Path) -> Recipe | None:
    file = out / RECIPE
    if not file.exists():
        return None
    try:
        return Recipe.from_file(read_json(file))
    except ValidationError as problem:
        raise UserError(
            f"{file} is not a recipe this trapmid can read: {explain(problem)}. If it holds a member "
            "of your own, import it: --import package.module:Class. Otherwise choose another --out."
        ) from problem


def _join(stored: Recipe, recipe: Recipe, out: Path) -> Recipe:
    members = ("defenses", "subjects", "attacks", "judges")
    fixed = set(Recipe.model_fields) - {"seeds", "fidelity", "robustness", "budget", *members}
    differing = sorted(name for name in fixed if getattr(stored, name) != getattr(recipe, name))
    seeds = tuple(dict.fromkeys((*stored.seeds, *recipe.seeds)))
    fidelity = recipe.fidelity or stored.fidelity
    joined: dict[str, Any] = {"seeds": seeds, "fidelity": fidelity, "robustness": recipe.robustness}
    joined["budget"] = recipe.budget
    for name in members:
        there = {member.name: member for member in getattr(stored, name)}
        here = {member.name: member for member in getattr(recipe, name)}
        changed = [member for member in there.keys() & here.keys() if there[member] != here[member]]
        differing += [f"{name}.{one}" for one in changed if name != "subjects" or _examined(one, stored, out)]
        joined[name] = tuple((there | here).values())
    if differing:
        raise UserError(
            f"{out} was begun with another recipe: {', '.join(differing)} differ. Choose another --out, or remove "
            "that folder."
        )
    return stored.model_copy(update=joined)


def _examined(subject: str, recipe: Recipe, out: Path) -> bool:
    return any(Folders(out).model(subject, seed).exists() for seed in recipe.seeds)
