"""Manifests: what the folder of an artifact is, how it was made, and the SHA-256 of each of its files."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import GenericAlias
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, TypeAdapter, ValidationError

from trapmid.config import Config, explain, fingerprint
from trapmid.earlier import earlier_values
from trapmid.reading import read_json
from trapmid.types import UserError

T = TypeVar("T")
SCHEMA = 1
MANIFEST = "manifest.json"
RECIPE = "recipe.json"
PARTIAL = ".partial"
"""The suffix of the name of an artifact that is not complete."""


class OthersArtifactError(UserError):
    """The artifact in a folder is of another kind, or from a later version, so nothing may replace it."""


def _within_its_folder(name: str) -> str:
    if name in ("", ".", "..", MANIFEST) or PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file within the folder")
    return name


_Name = Annotated[str, AfterValidator(_within_its_folder)]


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in ("trapmid", "torch", "torchvision", "kornia", "timm", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


class Manifest(Config):
    """A description of an artifact: what it is, how and from what it was made, and the SHA-256 of each of its files.

    Attributes:
        schema_version: the version of this file's layout.
        kind: the kind of artifact, such as `data`, `prior`, `model`, `attack`, `measured` or `measurement`.
        recipe: everything that decided the content, such as configs and seeds.
        parents: the digest of every artifact that was used, by its role.
        facts: numbers and names that describe the result.
        seconds: the time that was spent on it, including earlier runs that were interrupted.
        peak_memory_mib: the peak memory, in MiB, of the process that finished it.
        versions: the versions of Python and of the packages that decide the numbers.
        created: the time in UTC, in ISO 8601.
        files: the SHA-256 of each file, by its name.
    """

    schema_version: int = SCHEMA
    kind: str
    recipe: dict[str, Any]
    parents: dict[str, str]
    facts: dict[str, Any]
    seconds: float
    peak_memory_mib: float
    versions: dict[str, str]
    created: str
    files: dict[_Name, str]

    def digest(self) -> str:
        """Sixteen hex digits that change if and only if the recipe, the parents or a file's content changes.

        Logs are left out, because they hold times: making the same artifact twice should give the same digest.
        """
        content = {name: digest for name, digest in self.files.items() if not name.endswith(".jsonl")}
        return fingerprint([self.kind, self.recipe, self.parents, content])

    def fact(self, name: str, kind: type[T] | GenericAlias) -> T:
        """A number, a name or several of them that describe the result.

        Raises:
            UserError: there is no fact of this name, or it is not of this kind, because somebody edited the manifest.
        """
        try:
            return TypeAdapter(cast("type[T]", kind)).validate_python(self.facts.get(name))
        except ValidationError as problem:
            raise UserError(
                f"The {MANIFEST} of the {self.kind} made at {self.created} has {self.facts.get(name)!r} as its {name}: "
                f"{explain(problem)}. It was changed: put back a copy that was not, or remove its folder and run the "
                "command again."
            ) from problem


def open_artifact(folder: Path, kind: str) -> Manifest:
    """Read and verify an artifact.

    Raises:
        UserError: there is no artifact in the folder, it has another kind or a newer schema, or a file is missing or
            changed.
    """
    file = folder / MANIFEST
    if not file.exists():
        hint = (
            " It was interrupted: run the same command again to finish it."
            if folder.with_name(folder.name + PARTIAL).exists()
            else ""
        )
        raise UserError(f"{folder} is not a trapmid {kind}: it has no {MANIFEST}.{hint}")
    content = read_json(file)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise OthersArtifactError(f"{file} has schema {version}; this trapmid reads up to {SCHEMA}. Upgrade trapmid.")
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as problem:
        raise UserError(f"{file} is not a manifest this trapmid can read: {explain(problem)}") from problem
    if manifest.kind != kind:
        raise OthersArtifactError(f"{folder} is a {manifest.kind}; expected: {kind}.")
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing, though its manifest lists it. Copy the whole folder again.")
        if sha256(folder / name) != digest:
            raise UserError(
                f"{folder / name} is not the file its manifest vouches for (SHA-256 differs). It is damaged or was "
                f"changed: remove {folder} and run its command again."
            )
    return manifest


def recorded(config: Config) -> dict[str, Any]:
    """Return the config as manifests store it: its JSON, with the SHA-256 of local files in place of their paths.

    So a file may be moved without changing the recipe, and a file with other content under the same path changes it.
    Fields that earlier versions did not have are left out where their value is what these did (`trapmid.earlier`).

    Raises:
        UserError: a file that the config names cannot be read.
    """
    before = earlier_values(type(config))
    whole = {name: _recorded(value) for name, value in config}
    return {name: value for name, value in whole.items() if name not in before or value != before[name]}


def _recorded(value: Any) -> Any:
    match value:
        case Config():
            return recorded(value)
        case Path():
            try:
                return f"sha256:{sha256(value)}"
            except OSError as problem:
                raise UserError(
                    f"{value} cannot be read ({problem.strerror}). It is part of this recipe, which goes by its "
                    "content: bring it back or name it anew."
                ) from problem
        case tuple() | list():
            return [_recorded(entry) for entry in value]
        case _:
            return value


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
