"""Changing single values of a config by `path.to.key=value`, which is what `--set` takes."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError

from trapmid.config import Config, explain
from trapmid.errors import UserError, did_you_mean

C = TypeVar("C", bound=Config)


def changed(config: C, changes: Sequence[str]) -> C:
    """A copy of a config with single values changed; see `changed_values`.

    Raises:
        UserError: a path does not exist in the config, or a value is not valid.
    """
    return changed_values(type(config), config.model_dump(mode="json"), changes)


def changed_values(kind: type[C], values: dict[str, Any], changes: Sequence[str]) -> C:
    """Apply changes to the JSON of a config, then read it as that config.

    Args:
        kind: the class of the config.
        values: its JSON, which is changed in place.
        changes: `path.to.key=value` each. The value is JSON or a bare word. An entry of a list goes by its name if it
            has one, or by its number, counted from 0. Where `kind` is changed, settings that the old and the new kind
            share are kept, and all others take the new kind's defaults.

    Raises:
        UserError: a path does not exist in the config, or a value is not valid.
    """
    for change in changes:
        place, key = _apply(values, change)
        if key == "kind":
            _recast(kind, values, place)
    try:
        return kind.model_validate(values)
    except ValidationError as problem:
        raise UserError(f"The changed {kind.__name__.lower()} is not valid: {explain(problem)}.") from problem


def _recast(kind: type[Config], values: dict[str, Any], place: dict[str, Any]) -> None:
    """Fit the settings beside a changed `kind` to the new kind."""
    try:
        kind.model_validate(values)
    except ValidationError as problem:
        for error in problem.errors():
            if error["type"] == "extra_forbidden" and _at(values, error["loc"][:-1]) is place:
                del place[str(error["loc"][-1])]
    with suppress(ValidationError):  # a later change may still mend it; `changed_values` reports what is left
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
    """Make one change. Returns the object or list that holds the changed entry, and the entry's key in it."""
    path, equals, text = change.partition("=")
    if not equals:
        raise UserError(f"--set {change!r} has no '='. Expected path.to.key=value, e.g. training.epochs=5.")
    *parents, last = path.split(".")
    place: Any = values
    for key in parents:
        place = place[_key(place, key, change)]
    found = _key(place, last, change)
    place[found] = _value(text, change)
    return place, found


def _value(text: str, change: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as problem:
        raise UserError(f"--set {change[:60]!r}...: the value is nested too deeply.") from problem
    except ValueError:  # a bare word, or a number of thousands of digits, which no config takes
        return text


def _key(place: Any, key: str, change: str) -> str | int:
    if isinstance(place, list):
        names = [_name(entry) for entry in place]
        if key in names:
            return names.index(key)
        if key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(place):
            return int(key)
        known = [name for name in names if name]
        entries = f"It has {', '.join(known)}." if known else f"Its {len(place)} entries go by their numbers, from 0."
        raise UserError(f"--set {change!r}: {key!r} is not in the list.{did_you_mean(key, known)} {entries}")
    if not isinstance(place, dict):
        raise UserError(f"--set {change!r}: there is no {key!r}, because what stands before it has no parts.")
    if key not in place:
        raise UserError(
            f"--set {change!r}: there is no {key!r}.{did_you_mean(key, list(place))} Expected one of "
            f"{', '.join(place)}."
        )
    return key


def _name(entry: Any) -> str:
    """The name of a member that is JSON already, as `Member.name` has it; empty for what is no member."""
    if not isinstance(entry, dict) or "kind" not in entry:
        return ""
    if entry.get("label"):
        return str(entry["label"])
    if "parts" in entry:
        return "+".join(map(_name, entry["parts"]))
    return f"{entry['kind']}-{_name(entry['base'])}" if "base" in entry else str(entry["kind"])
