"""Recipes: complete configs of audits, by name.

The docstring of each recipe gives its command, its duration and its expected results.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trapmid.attacks import parse_attack
from trapmid.audit import Recipe
from trapmid.config import Config
from trapmid.data import SplitConfig, guess_source
from trapmid.defenses import parse_defense
from trapmid.detection import Learned
from trapmid.errors import UserError, did_you_mean
from trapmid.recipes.attacks_adaptive import adaptive_cpu, adaptive_demo, adaptive_pretrained
from trapmid.recipes.attacks_cpu import attacks_cpu, attacks_demo, attacks_pretrained
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.celeba64_pretrained import celeba64_pretrained, celeba64_vgg16_cpu
from trapmid.recipes.celeba64_vgg16 import celeba64_vgg16
from trapmid.recipes.changes import changed, changed_values
from trapmid.recipes.defenses_cpu import defenses_cpu, defenses_pretrained
from trapmid.recipes.demo import demo
from trapmid.recipes.durations import durations, generator_speeds
from trapmid.recipes.given import given_recipe, left_out
from trapmid.recipes.memory import memory
from trapmid.recipes.published import attacks_published_demo, defenses_published_demo

RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "celeba64-pretrained": celeba64_pretrained,
    "celeba64-cpu": celeba64_cpu,
    "celeba64-vgg16-cpu": celeba64_vgg16_cpu,
    "celeba64_vgg16": celeba64_vgg16,
    "defenses-pretrained": defenses_pretrained,
    "attacks-pretrained": attacks_pretrained,
    "adaptive-pretrained": adaptive_pretrained,
    "defenses-cpu": defenses_cpu,
    "adaptive-cpu": adaptive_cpu,
    "adaptive-demo": adaptive_demo,
    "attacks-demo": attacks_demo,
    "attacks-cpu": attacks_cpu,
    "attacks-published-demo": attacks_published_demo,
    "defenses-published-demo": defenses_published_demo,
}


def choose_recipe(
    name: str,
    *,
    private: str | Path | None = None,
    public: str | Path | None = None,
    seeds: tuple[int, ...] | None = None,
    defenses: tuple[str, ...] | None = None,
    also: str | None = None,
    attacks: tuple[str, ...] | None = None,
    identities: int | None = None,
    teacher: str | Path | None = None,
    changes: tuple[str, ...] = (),
) -> Recipe:
    """Return a recipe by name, with other data, other members or single values changed.

    Args:
        name: one of `RECIPES`.
        private: path to the private images. The kind of source is guessed from the files there.
        public: path to the attacker's images, read in the same way.
        seeds: replace the seeds of the recipe.
        defenses: replace the defenses of the recipe. Each is the name of a defense of the recipe, or another kind with
            its default settings. Several names joined by + are stacked.
        also: a defense to add if the recipe does not have it; see `parse_defense`.
        attacks: replace the attacks of the recipe. Each is the name of an attack of the recipe, or another kind with
            its default settings; see `parse_attack`.
        identities: the number of private identities; those with the most images are used.
        teacher: the face embedder, an ONNX file, that every start of the recipe learns from if it learns from one.
        changes: `path.to.key=value` each, e.g. `training.epochs=5` or `defenses.trapmid.weight=0.1`; see
            `trapmid.recipes.changes`.

    Raises:
        UserError: a recipe, a member or a key is not known, or a value is not valid.
    """
    if name not in RECIPES:
        raise UserError(
            f"{name!r} is not a recipe.{did_you_mean(name, list(RECIPES))} Expected one of {', '.join(RECIPES)}."
        )
    recipe = RECIPES[name]()
    values = _with_members(recipe, seeds=seeds, defenses=defenses, also=also, attacks=attacks)
    if identities is not None:
        values["identities"] = identities
    for side, path in (("private", private), ("public", public)):
        if path is not None:
            values[side] = _json(guess_source(path))
    if teacher is not None and not _name_teacher(values, str(teacher)):
        raise UserError(
            f"No network of {name} starts from a face embedder's knowledge, so there is nobody to teach. Leave "
            "--teacher out."
        )
    return changed_values(Recipe, values, changes)


def _name_teacher(values: Any, teacher: str) -> int:
    """Put a teacher into every start that wants one, in the JSON of a recipe. Returns their number."""
    if isinstance(values, list):
        return sum(_name_teacher(entry, teacher) for entry in values)
    if not isinstance(values, dict):
        return 0
    found = sum(_name_teacher(entry, teacher) for entry in values.values())
    if "teacher" in values:
        values["teacher"], found = teacher, found + 1
    return found


def extend(
    recipe: Recipe,
    *,
    seeds: tuple[int, ...] | None = None,
    defenses: tuple[str, ...] | None = None,
    also: str | None = None,
    attacks: tuple[str, ...] | None = None,
) -> Recipe:
    """Return the recipe of a run folder with other members. The arguments are those of `choose_recipe`.

    Raises:
        UserError: a member is not known, or a seed is out of range.
    """
    return changed_values(Recipe, _with_members(recipe, seeds, defenses, also, attacks), ())


def _with_members(
    recipe: Recipe,
    seeds: tuple[int, ...] | None,
    defenses: tuple[str, ...] | None,
    also: str | None,
    attacks: tuple[str, ...] | None,
) -> dict[str, Any]:
    values = _json(recipe)
    if defenses is not None:
        values["defenses"] = [_json(parse_defense(text, recipe.defenses)) for text in dict.fromkeys(defenses)]
    if also is not None and also not in {defense.name for defense in recipe.defenses}:
        values["defenses"].append(_json(parse_defense(also, recipe.defenses)))
    if attacks is not None:
        values["attacks"] = [_json(parse_attack(text, recipe.attacks)) for text in dict.fromkeys(attacks)]
    if seeds is not None:
        values["seeds"] = list(seeds)
    return values


def learned(private: str | Path, changes: tuple[str, ...] = ()) -> Learned:
    """The private images at a path, read with default settings except for `changes`, e.g. `private.crop=108`.

    Raises:
        UserError: there is no data set at that path, a key is not known, or a value is not valid.
    """
    return changed_values(Learned, {"private": _json(guess_source(private)), "split": _json(SplitConfig())}, changes)


def _json(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json")


__all__ = [
    "RECIPES",
    "Recipe",
    "changed",
    "choose_recipe",
    "durations",
    "extend",
    "generator_speeds",
    "given_recipe",
    "learned",
    "left_out",
    "memory",
]
