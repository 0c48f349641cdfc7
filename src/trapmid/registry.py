"""Registries: the attacks, defenses and other members that can be named, those of trapmid and those of other packages.

A package adds a member with an entry point whose name is the member's kind:

    [project.entry-points."trapmid.attacks"]
    my-attack = "my_package.attack:MyAttack"

A class that is not part of an installed package is named by its import path, `my_package.attack:MyAttack`, on the
command line. In Python, `Registry.add` adds a class.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
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
"""The environment variable that passes the import paths of a command, separated by commas, to its workers."""


@final
class Registry(Generic[M]):
    """The members of one union, by kind. As an annotation, `Annotated[Attack, ATTACKS]`, it accepts any of them.

    Args:
        base: the base class of all members.
        noun: what messages call a member, such as `attack`.
        group: the group of entry points, such as `trapmid.attacks`.
        package: where trapmid's own members are listed, as `module:TUPLE`. The module is imported at the first look-up,
            so that members may have fields that hold other members.
        only: takes a member's class and returns whether it belongs to this union. If it is None, every member belongs.
    """

    def __init__(
        self, base: type[M], noun: str, group: str, package: str, only: Callable[[type[M]], bool] | None = None
    ) -> None:
        self.base, self.noun, self.group, self._package, self._only = base, noun, group, package, only
        self._added: dict[str, type[M]] = {}
        self._whole: Registry[M] = self

    def where(self, only: Callable[[type[M]], bool], noun: str) -> "Registry[M]":
        """A registry of some of the members. A member that is added to one of the two registries is in both.

        Args:
            only: takes a member's class and returns whether it belongs.
            noun: what messages call such a member.
        """
        part = Registry(self.base, noun, self.group, self._package, only)
        part._whole = self._whole
        return part

    def __iter__(self) -> Iterator[type[M]]:
        """The class of every member: trapmid's own, then those of other packages by kind, then those that were added.

        Raises:
            UserError: another package brings a member that cannot be loaded.
        """
        own = self._own()
        others = {kind: self._load(entry) for kind, entry in sorted(self._entries().items()) if kind not in own}
        yield from filter(self._only, (own | others | self._named()).values())

    def kinds(self) -> tuple[str, ...]:
        """The kind of every member, in the order of iteration."""
        return tuple(kind_of(member) for member in self)

    def member(self, kind: str) -> type[M]:
        """The class of the member with this kind. Another package is imported only if it brings this kind.

        Raises:
            UserError: the kind is not known, or the package that brings it cannot be imported.
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
        """Add a member's class to this process. Returns the class, so it can be used as a decorator.

        Raises:
            UserError: there is another member of the same kind.
        """
        kind = kind_of(member)
        there = {**self._own(), **self._whole._added}.get(kind)
        if there is not None and there is not member:
            raise UserError(
                f"{member.__module__}:{member.__qualname__} has the kind {kind!r}, which "
                f"{there.__module__}:{there.__qualname__} has already. Give it another `kind`."
            )
        self._whole._added[kind] = member
        return member

    def import_member(self, path: str) -> type[M]:
        """Import `package.module:Class` and add it, here and in the worker processes that this process starts.

        Raises:
            UserError: the module or the class does not exist, or the class cannot be a member.
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
        return {entry.name: entry for entry in installed(self.group, tuple(sys.path))}

    def _load(self, entry: EntryPoint) -> type[M]:
        package = "" if entry.dist is None else f" of the installed package {entry.dist.name}"
        try:
            member = self._checked(entry.load())
        except Exception as problem:  # importing another package can raise anything
            raise UserError(
                f"The {self.noun} {entry.name!r}{package} cannot be loaded: {type(problem).__name__}: "
                f"{explain(problem)}. "
                "Repair or uninstall that package."
            ) from problem
        if kind_of(member) != entry.name:
            raise UserError(
                f"The entry point {entry.name!r}{package} in the group {self.group} names a class of the kind "
                f"{kind_of(member)!r}. "
                "Both have to be the same."
            )
        return member

    def _import(self, path: str) -> type[M]:
        return self._checked(import_path(path, _a(self.noun)))

    def _checked(self, member: Any) -> type[M]:
        base = f"{self.base.__module__}.{self.base.__qualname__}"
        if not inspect.isclass(member) or not issubclass(member, self.base) or "kind" not in member.model_fields:
            raise UserError(f"{member!r} is not a subclass of {base} with a field `kind`")
        return member

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Look the class up by `kind` whenever a value is validated, because members may be added later."""
        del source, handler
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda member, info: member.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def _validate(self, value: Any, info: Any) -> M:  # a ValidationInfo, which beartype cannot check
        if isinstance(value, Config):
            kind = kind_of(type(value))
            if type(value) is not self.member(kind):
                raise ValueError(f"{type(value).__name__} is not {_a(self.noun)}")
            return value
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise ValueError(f"expected {_a(self.noun)}: an object whose `kind` is one of {', '.join(self.kinds())}")
        return self.member(value["kind"]).model_validate(value, context=info.context)


@cache
def installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group.

    Every look-up of a member asks, and reading the metadata of all packages takes 30 ms.

    Args:
        group: their group.
        path: `sys.path`, which decides what is installed.
    """
    del path
    return tuple(entry_points(group=group))


def import_path(path: str, used_as: str) -> Any:
    """What `package.module:Name` names. The module may be in the working directory.

    Args:
        path: the import path.
        used_as: what messages say that it is to be used as, such as `an attack`.

    Raises:
        UserError: the module or the name does not exist.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as problem:
        raise UserError(
            f"{path} cannot be used as {used_as}: {explain(problem)}. Expected package.module:Name, importable from "
            f"{here}."
        ) from problem


def kind_of(member: type[Config]) -> str:
    """The kind of a member's class: the default of its field `kind`."""
    return str(member.model_fields["kind"].default)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
