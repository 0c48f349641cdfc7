"""Recipes: complete configs by name. A recipe's docstring gives the command, the hours and the numbers to expect."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from trapmid.audit import Recipe
from trapmid.config import Config, misfits
from trapmid.data import SplitConfig, guess_source
from trapmid.defenses import parse_defense
from trapmid.detection import Learned
from trapmid.recipes.attacks_adaptive import adaptive_cpu, adaptive_demo
from trapmid.recipes.attacks_cpu import attacks_cpu, attacks_demo
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.celeba64_vgg16 import celeba64_vgg16
from trapmid.recipes.defenses_cpu import defenses_cpu
from trapmid.recipes.demo import demo
from trapmid.types import UserError

C = TypeVar("C", bound=Config)

RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "celeba64-cpu": celeba64_cpu,
    "celeba64_vgg16": celeba64_vgg16,
    "defenses-cpu": defenses_cpu,
    "adaptive-cpu": adaptive_cpu,
    "adaptive-demo": adaptive_demo,
    "attacks-demo": attacks_demo,
    "attacks-cpu": attacks_cpu,
}


def choose(
    name: str,
    *,
    private: Path | None = None,
    public: Path | None = None,
    seeds: tuple[int, ...] | None = None,
    defenses: tuple[str, ...] | None = None,
    also: str | None = None,
    attacks: tuple[str, ...] | None = None,
    identities: int | None = None,
    changes: tuple[str, ...] = (),
) -> Recipe:
    """A recipe by name, with another data set, fewer members or single values changed.

    Args:
        name: one of `RECIPES`.
        private: path to the private images; its kind is guessed.
        public: path to the attacker's images.
        seeds: instead of the recipe's.
        defenses: names to keep, of the recipe's or of any defense with its published constants; several joined by + are stacked.
        also: a defense that joins these if they lack it.
        attacks: names to keep.
        identities: how many take part.
        changes: `path.to.key=value` each, where value is JSON or a bare word and a list's entry goes by its number or name,
            e.g. `training.epochs=5`, `defenses.trapmid.weight=0.1`. Another `kind` keeps the settings that both kinds have.

    Raises:
        UserError: there is no such recipe, member or key, or a value does not fit.
    """
    if name not in RECIPES:
        raise UserError(f"{name!r} is not a recipe. Expected one of {', '.join(RECIPES)}.")
    recipe = RECIPES[name]()
    if defenses is not None:
        chosen = tuple(parse_defense(text, recipe.defenses) for text in defenses)
        recipe = recipe.model_copy(update={"defenses": chosen})
    if also is not None:
        recipe = with_defense(recipe, also)
    values: dict[str, Any] = recipe.model_dump(mode="json")
    if attacks is not None:
        values["attacks"] = [recipe.attack(member).model_dump(mode="json") for member in attacks]
    if seeds is not None:
        values["seeds"] = tuple(dict.fromkeys(seeds))
    if identities is not None:
        values["identities"] = identities
    for side, path in (("private", private), ("public", public)):
        if path is not None:
            values[side] = guess_source(path).model_dump(mode="json")
    return _changed(Recipe, values, changes)


def learned(private: Path, changes: tuple[str, ...] = ()) -> Learned:
    """The private images at a path, read as recipes do by default or as `changes` say, e.g. `private.crop=108`, `split.val=0.2`.

    Raises:
        UserError: the path looks like no data set, there is no such key, or a value does not fit.
    """
    values = {
        "private": guess_source(private).model_dump(mode="json"),
        "split": SplitConfig().model_dump(mode="json"),
    }
    return _changed(Learned, values, changes)


def with_defense(recipe: Recipe, text: str) -> Recipe:
    """The recipe, joined by a defense that it may lack, as `parse_defense` reads it.

    Raises:
        UserError: there is no such defense.
    """
    if text in {defense.name for defense in recipe.defenses}:
        return recipe
    return recipe.model_copy(update={"defenses": (*recipe.defenses, parse_defense(text, recipe.defenses))})


def changed(config: C, changes: Sequence[str]) -> C:
    """A recipe or a member of one with single values changed, as `choose` takes them.

    Raises:
        UserError: there is no such key, or a value does not fit.
    """
    return _changed(type(config), config.model_dump(mode="json"), tuple(changes))


def _changed(kind: type[C], values: dict[str, Any], changes: tuple[str, ...]) -> C:
    for change in changes:
        place, key = _apply(values, change)
        if key == "kind":
            _recast(kind, values, place)
    try:
        return kind.model_validate(values)
    except ValidationError as problem:
        raise UserError(f"The changed {kind.__name__.lower()} does not fit: {misfits(problem)}") from problem


def _recast(kind: type[Config], values: dict[str, Any], place: dict[str, Any]) -> None:
    """Give a member in `values` whose kind was changed the new kind's settings: what both have stays, the rest is as by default."""
    try:
        kind.model_validate(values)
    except ValidationError as problem:
        for error in problem.errors():
            if error["type"] == "extra_forbidden" and _at(values, error["loc"][:-1]) is place:
                del place[str(error["loc"][-1])]
    with suppress(ValidationError):  # whoever called says what does not fit, once all changes are made
        whole = kind.model_validate(values).model_dump(mode="json")
        values.clear()
        values.update(whole)


def _at(values: Any, location: tuple[Any, ...]) -> Any:
    """What lies in `values` at the location of an error, in which a union's kinds stand beside keys and indices."""
    for key in location:
        if (isinstance(values, dict) and key in values) or (isinstance(values, list) and isinstance(key, int)):
            values = values[key]
    return values


def _apply(values: dict[str, Any], change: str) -> tuple[Any, str | int]:
    """Make one change; returns what holds the changed entry, and its key there."""
    path, equals, text = change.partition("=")
    if not equals:
        raise UserError(f"--set {change!r} has no '='. Expected path.to.key=value, e.g. training.epochs=5.")
    *parents, last = path.split(".")
    place: Any = values
    for key in parents:
        place = place[_key(place, key, change)]
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    changed_key = _key(place, last, change)
    place[changed_key] = value
    return place, changed_key


def _key(place: Any, key: str, change: str) -> str | int:
    if isinstance(place, list):
        names = [_name(entry) for entry in place]
        if key in names:
            return names.index(key)
        if key.isdigit() and int(key) < len(place):
            return int(key)
        raise UserError(f"--set {change!r}: {key!r} is not in the list. Expected one of {', '.join(names)}.")
    if isinstance(place, dict) and key in place:
        return key
    known = ", ".join(place) if isinstance(place, dict) else "nothing below it"
    raise UserError(f"--set {change!r}: there is no {key!r}. Expected one of {known}.")


def _name(entry: dict[str, Any]) -> str:
    """As `Member.name`, of a member that is JSON already; a stack's and a wrapper's are made of their parts' names."""
    if entry.get("label"):
        return str(entry["label"])
    if "parts" in entry:
        return "+".join(map(_name, entry["parts"]))
    return f"{entry['kind']}-{_name(entry['base'])}" if "base" in entry else str(entry["kind"])
