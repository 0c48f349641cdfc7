"""Registries: the members of each union, those of the package and those that other packages add.

A package adds a member with an entry point whose name is the member's kind:

    [project.entry-points."trapmid.attacks"]
    my-attack = "my_package.attack:MyAttack"

A module that is not installed adds one by its import path, `my_package.attack:MyAttack`, on a command line or through `Registry.add`.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from trapmid.config import Config, explain
from trapmid.errors import UserError, did_you_mean

M = TypeVar("M", bound=Config)
NAMED = "TRAPMID_MEMBERS"
"""The environment variable that tells worker processes which import paths a command named, separated by commas."""


@final
class Registry(Generic[M]):
    """The members of one union, by kind. As an annotation, `Annotated[Attack, ATTACKS]`, it validates and serialises them.

    Args:
        base: the contract that every member inherits.
        noun: what a member is called in messages: `attack`.
        group: of entry points: `trapmid.attacks`.
        package: where the package's own members are, as `module:TUPLE`; imported at the first look-up, so that members may
            hold other members.
        only: which of all members belong to this union; None for all.
    """

    def __init__(
        self, base: type[M], noun: str, group: str, package: str, only: Callable[[type[M]], bool] | None = None
    ) -> None:
        self.base, self.noun, self.group, self._package, self._only = base, noun, group, package, only
        self._added: dict[str, type[M]] = {}
        self._whole: Registry[M] = self

    def where(self, only: Callable[[type[M]], bool], noun: str) -> "Registry[M]":
        """The members that `only` is true of, as a union of their own; members that are added here or there are in both.

        Args:
            only: of a member's class.
            noun: what such a member is called in messages.
        """
        part = Registry(self.base, noun, self.group, self._package, only)
        part._whole = self._whole
        return part

    def __iter__(self) -> Iterator[type[M]]:
        """Every member's class: the package's first, then those of other packages by kind, then those added by hand."""
        own = self._own()
        others = {kind: self._load(entry) for kind, entry in sorted(self._entries().items()) if kind not in own}
        yield from filter(self._only, (own | others | self._named()).values())

    def kinds(self) -> tuple[str, ...]:
        """The kind of every member, in the order of iteration."""
        return tuple(kind_of(member) for member in self)

    def member(self, kind: str) -> type[M]:
        """The class of a kind. Another package is imported only if the kind is its own.

        Raises:
            UserError: there is no such kind, or the package that brings it cannot be imported.
        """
        known = self._own() | self._named()
        if kind not in known and kind in self._entries():
            known[kind] = self._load(self._entries()[kind])
        found = known.get(kind)
        if found is None or (self._only is not None and not self._only(found)):
            kinds = self.kinds()
            raise UserError(f"{kind!r} is not {_a(self.noun)}.{did_you_mean(kind, kinds)} Known: {', '.join(kinds)}.")
        return found

    def add(self, member: type[M]) -> type[M]:
        """Add a member's class, for this process and the workers it starts. Also a decorator.

        Raises:
            UserError: the package has a member of that kind, or another one was added.
        """
        kind = kind_of(member)
        there = {**self._own(), **self._whole._added}.get(kind)
        if there is not None and there is not member:
            raise UserError(
                f"{member.__module__}:{member.__qualname__} has the kind {kind!r}, and so has {there.__module__}:{there.__qualname__}. "
                "Give it another `kind`."
            )
        self._whole._added[kind] = member
        return member

    def import_member(self, path: str) -> type[M]:
        """Import `package.module:Class`, add it, and have worker processes do the same.

        Raises:
            UserError: there is no such module or class, or the class is no member.
        """
        member = self.add(self._import(path))
        named = dict.fromkeys(filter(None, os.environ.get(NAMED, "").split(",")))
        os.environ[NAMED] = ",".join(named | {f"{self.group}={path}": None})
        return member

    def _own(self) -> dict[str, type[M]]:
        module, _, name = self._package.partition(":")
        return {kind_of(member): member for member in getattr(import_module(module), name)}

    def _named(self) -> dict[str, type[M]]:
        for item in filter(None, os.environ.get(NAMED, "").split(",")):
            group, _, path = item.partition("=")
            if group == self.group:
                self.add(self._import(path))
        return self._whole._added

    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}

    def _load(self, entry: EntryPoint) -> type[M]:
        package = "" if entry.dist is None else f" of the installed package {entry.dist.name}"
        try:
            member = self._checked(entry.load())
        except Exception as problem:  # whatever a stranger's module does when it is imported
            raise UserError(
                f"The {self.noun} {entry.name!r}{package} cannot be loaded: {type(problem).__name__}: {explain(problem)}. "
                "Repair or uninstall that package."
            ) from problem
        if kind_of(member) != entry.name:
            raise UserError(
                f"The entry point {entry.name!r}{package} in the group {self.group} names a class of the kind {kind_of(member)!r}. "
                "The two have to be the same."
            )
        return member

    def _import(self, path: str) -> type[M]:
        module, _, name = path.partition(":")
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)  # as `python -m` does: the module may lie beside the user's data
        try:
            return self._checked(getattr(import_module(module), name))
        except (ImportError, AttributeError, ValueError) as problem:
            raise UserError(
                f"{path} cannot be used as {_a(self.noun)}: {explain(problem)}. Expected package.module:Class, importable from {here}."
            ) from problem

    def _checked(self, member: Any) -> type[M]:
        base = f"{self.base.__module__}.{self.base.__qualname__}"
        if not inspect.isclass(member) or not issubclass(member, self.base) or "kind" not in member.model_fields:
            raise UserError(f"{member!r} is not a subclass of {base} with a field `kind`")
        return member

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """One function that finds the class by `kind` when a value is validated, since members may be added later."""
        del source, handler
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda member, info: member.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def _validate(self, value: Any) -> M:
        if isinstance(value, Config):
            kind = kind_of(type(value))
            if type(value) is not self.member(kind):
                raise ValueError(f"{type(value).__name__} is not {_a(self.noun)}")
            return value
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise ValueError(f"expected {_a(self.noun)}: an object whose `kind` is one of {', '.join(self.kinds())}")
        return self.member(value["kind"]).model_validate(value)


def kind_of(member: type[Config]) -> str:
    """The kind of a member's class: the default of its field `kind`."""
    return str(member.model_fields["kind"].default)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
