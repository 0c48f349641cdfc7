"""One instance of every config that a recipe can hold, and the numbers in their fields, found by introspection."""

import types
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic import ValidationError

from trapmid.config import Config
from trapmid.detection import Learned
from trapmid.recipes import RECIPES
from trapmid.registry import Registry

PATHS = {"path": "faces", "private": {"kind": "folder", "path": "faces"}}
"""What a config of a data set cannot be made without."""


class NumericField(NamedTuple):
    """One number in a config: `owner.name`, at `place` within the field where the field is a tuple."""

    owner: type[Config]
    name: str
    place: tuple[int, ...]
    kind: type
    bounds: tuple[Any, ...]

    def __str__(self) -> str:
        return ".".join([self.owner.__name__, self.name, *map(str, self.place)])

    @property
    def low(self) -> float | None:
        """The smallest value that the annotation allows, or the number just below it."""
        found = [
            b.ge if isinstance(b, annotated_types.Ge) else b.gt
            for b in self._of(annotated_types.Ge, annotated_types.Gt)
        ]
        return max(found) if found else None

    @property
    def high(self) -> float | None:
        """The largest value that the annotation allows, or the number just above it."""
        found = [
            b.le if isinstance(b, annotated_types.Le) else b.lt
            for b in self._of(annotated_types.Le, annotated_types.Lt)
        ]
        return min(found) if found else None

    def _of(self, *kinds: type) -> list[Any]:
        return [bound for bound in self.bounds if isinstance(bound, kinds)]

    def put(self, values: dict[str, Any], number: Any) -> dict[str, Any]:
        """The JSON of a config with this number in it."""
        if not self.place:
            return {**values, self.name: number}
        filled = list(values[self.name] or default_of(self))
        filled[self.place[0]] = number
        return {**values, self.name: filled}


def default_of(field: NumericField) -> list[Any]:
    """Two numbers within the bounds, for a pair that is None by default."""
    return [field.low, field.high]


@cache
def configs() -> tuple[type[Config], ...]:
    """Every config class that can stand somewhere in a recipe, or in what `trapmid detect` reads."""
    from trapmid.audit import Recipe

    seen: dict[type[Config], None] = {}
    waiting: list[type[Config]] = [Recipe, Learned]
    while waiting:
        owner = waiting.pop()
        if owner not in seen:
            seen[owner] = None
            for field in owner.model_fields.values():
                registered = [union for union in field.metadata if isinstance(union, Registry)]
                waiting += registered[0] if registered else _configs_in(field.annotation)
    return tuple(sorted(seen, key=lambda owner: (owner.__module__, owner.__name__)))


def numeric_fields() -> list[NumericField]:
    """Every number in every one of `configs`."""
    return [
        NumericField(owner, name, place, kind, bounds)
        for owner in configs()
        for name, field in owner.model_fields.items()
        for place, kind, bounds in _numbers(field.annotation, tuple(field.metadata))
    ]


@cache
def instance(owner: type[Config]) -> Config:
    """One config of a class: as it is by default, or as some recipe has it."""
    try:
        return owner.model_validate({name: value for name, value in PATHS.items() if name in owner.model_fields})
    except ValidationError:
        return next(found for make in RECIPES.values() for found in _within(make()) if type(found) is owner)


def _within(value: Any) -> Iterator[Config]:
    if isinstance(value, Config):
        yield value
        for name in type(value).model_fields:
            yield from _within(getattr(value, name))
    elif isinstance(value, tuple):
        for one in value:
            yield from _within(one)


def _configs_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    for union in getattr(annotation, "__metadata__", ()):
        if isinstance(union, Registry):
            return list(union)
    return [found for part in get_args(annotation) for found in _configs_in(part)]


def _numbers(
    annotation: Any, bounds: tuple[Any, ...], place: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], type, tuple[Any, ...]]]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in (int, float):
        yield place, annotation, tuple(_flat(bounds))
    elif origin is Literal:
        return
    elif hasattr(annotation, "__metadata__"):
        yield from _numbers(parts[0], (*bounds, *annotation.__metadata__), place)
    elif origin in (Union, types.UnionType):
        for part in parts:
            yield from _numbers(part, bounds, place)
    elif origin is tuple:
        entries = parts[:1] if parts[-1] is ... else parts
        for number, part in enumerate(entries):
            yield from _numbers(part, (), (*place, number))


def _flat(bounds: tuple[Any, ...]) -> Iterator[Any]:
    for bound in bounds:
        yield from getattr(bound, "metadata", None) or [bound]
