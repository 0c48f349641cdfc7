"""Artifacts: folders with a manifest.json that names their files with a SHA-256 each.

An artifact is made in a folder beside its own, which is renamed when it is complete, and verified whenever it is
opened.
"""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import GenericAlias
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, TypeAdapter, ValidationError

from trapmid.config import Config, explain, fingerprint
from trapmid.earlier import earlier_values
from trapmid.engine.progress import Progress, no_progress
from trapmid.files import alone, write_atomic
from trapmid.reading import read_json
from trapmid.types import UserError

T = TypeVar("T")
SCHEMA = 1
MANIFEST = "manifest.json"
RECIPE = "recipe.json"
PARTIAL = ".partial"
REPLACED = ".replaced"
"""The suffix of the name of an old artifact while a new one takes its place."""


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


@dataclass(frozen=True)
class Draft:
    """An artifact that is being made. The files in `folder` that are named to `finish` become part of it."""

    out: Path
    kind: str
    recipe: dict[str, Any]
    parents: dict[str, str]

    @property
    def wanted(self) -> dict[str, Any]:
        """Everything that decides the content."""
        return {"kind": self.kind, "recipe": self.recipe, "parents": self.parents}

    @property
    def folder(self) -> Path:
        """Where to write files and checkpoints. The folder survives a crash, so that the next process can resume."""
        return self.out.with_name(self.out.name + PARTIAL)

    def go_on(self, build: "Build") -> Manifest:
        """Make the artifact, or resume what an earlier process left: a part, or all of it under the temporary name."""
        if (self.folder / MANIFEST).exists():
            return self.publish(_open_same(self.folder, self))
        begun = self.folder / RECIPE
        if begun.exists():
            _check_same(self.folder, self.wanted, read_json(begun))
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(begun, json.dumps(self.wanted))
        return build(self)

    def finish(self, files: list[str], facts: Mapping[str, Any], seconds: float, peak_memory_mib: float) -> Manifest:
        """Hash `files`, write the manifest, remove everything else, and rename the folder to its final name.

        Everything has reached the disk before the folder is renamed. If the process is killed after the manifest is
        written, the next call of `make` publishes the artifact without building it again.
        """
        for name in files:
            _reach_disk(self.folder / name)
        manifest = Manifest(
            kind=self.kind,
            recipe=self.recipe,
            parents=self.parents,
            facts=dict(facts),
            seconds=seconds,
            peak_memory_mib=peak_memory_mib,
            versions=versions(),
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            files={name: sha256(self.folder / name) for name in sorted(files)},
        )
        write_atomic(self.folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
        return self.publish(manifest)

    def publish(self, manifest: Manifest) -> Manifest:
        """Remove files that the manifest does not name, and rename the folder to its final name."""
        for entry in self.folder.iterdir():
            if entry.name not in {MANIFEST, *manifest.files}:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        _reach_disk(self.folder)
        replaced = self.out.with_name(self.out.name + REPLACED)
        shutil.rmtree(replaced, ignore_errors=True)
        if self.out.exists():  # a folder cannot be renamed over another that is not empty
            self.out.rename(replaced)
        self.folder.rename(self.out)
        _reach_disk(self.out.parent)
        shutil.rmtree(replaced, ignore_errors=True)
        return manifest


Build = Callable[[Draft], Manifest]


class OthersArtifactError(UserError):
    """The artifact in a folder is of another kind, or from a later version, so nothing may replace it."""


def make(
    out: Path,
    kind: str,
    recipe: Mapping[str, Any],
    parents: Mapping[str, str],
    build: Build,
    progress: Progress = no_progress,
) -> Manifest:
    """Return the artifact in `out`: open it if it is finished, resume it if it was interrupted, or build it.

    While another process makes the same artifact, this one waits and reports that to `progress`.

    Args:
        out: the artifact's folder.
        kind: the kind of artifact.
        recipe: everything that decides the content, as values that JSON can hold.
        parents: the digests of the artifacts that are used, by role.
        build: writes the files into `Draft.folder` and ends with `Draft.finish`.
        progress: called while this process waits.

    Raises:
        UserError: `out` holds an artifact, finished or not, of another recipe or other parents.
    """
    draft = Draft(out, kind, json.loads(json.dumps(recipe)), dict(parents))
    if out.exists():
        return _open_same(out, draft)
    with alone(out, partial(_wait, out, progress)):
        if out.exists():  # another process has finished it meanwhile
            return _open_same(out, draft)
        return draft.go_on(build)


def remake(
    out: Path,
    kind: str,
    recipe: Mapping[str, Any],
    parents: Mapping[str, str],
    build: Build,
    progress: Progress = no_progress,
) -> Manifest:
    """Do as `make` does, but replace an artifact that is damaged or has another recipe or other parents.

    It is meant for artifacts that follow from the rest of a run and take little time, such as measurements. The old
    artifact is kept until the new one is complete.

    Raises:
        UserError: the artifact is of another kind or was written by a later version. It is not replaced.
    """
    draft = Draft(out, kind, json.loads(json.dumps(recipe)), dict(parents))
    with alone(out, partial(_wait, out, progress)):
        try:
            return _open_same(out, draft)
        except OthersArtifactError:
            raise
        except UserError:
            shutil.rmtree(draft.folder, ignore_errors=True)
            return draft.go_on(build)


def _wait(out: Path, progress: Progress) -> None:
    progress(f"wait for {out}, which another command is making", 0, None, "")


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


def _reach_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk and survives a power cut."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX systems can open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_same(folder: Path, draft: Draft) -> Manifest:
    manifest = open_artifact(folder, draft.kind)
    _check_same(folder, draft.wanted, manifest.model_dump(include={*draft.wanted}))
    return manifest


def _check_same(folder: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    differing = _differences(wanted, found)
    if differing:
        listed = "; ".join(f"{path}: there {there!r}, now {now!r}" for path, there, now in differing[:3])
        raise UserError(
            f"{folder} holds the result of other settings ({listed}). Choose another --out, or remove that folder."
        )


def _differences(wanted: Any, found: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            d
            for key in sorted({*wanted, *found})
            for d in _differences(wanted.get(key), found.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if wanted == found else [(path, found, wanted)]
