"""Artifacts: a folder with manifest.json and the files it vouches for. Written beside, then renamed; verified when opened."""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from trapmid.config import Config, fingerprint, misfits
from trapmid.files import write_atomic
from trapmid.types import UserError

SCHEMA = 1
MANIFEST = "manifest.json"
RECIPE = "recipe.json"
PARTIAL = ".partial"
LOCK = ".lock"
PATIENCE = 5.0
"""Seconds that a command waits for another one that makes the same artifact: small ones are done by then."""


@cache
def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"python": platform.python_version()}
    for package in ("trapmid", "torch", "torchvision", "kornia", "timm", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


class Manifest(Config):
    """What an artifact is, what it was made from and by, and the SHA-256 of each of its files.

    Attributes:
        schema_version: of this file's layout.
        kind: `data`, `prior`, `model`, `attack`, `measured`, `measurement`.
        recipe: everything that decided the content: configs, seeds.
        parents: digest of every artifact that went in, by role.
        facts: what came out, in numbers and names.
        seconds: spent making it, over all resumed runs.
        peak_memory_mib: of the process that finished it.
        versions: of Python and the packages that decide numbers.
        created: UTC, ISO 8601.
        files: SHA-256 by file name.
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
    files: dict[str, str]

    def digest(self) -> str:
        """Sixteen hex digits that change if and only if the recipe, the parents or a file's content changes.

        Logs do not count: they hold seconds, and the same thing made twice should have the same digest.
        """
        content = {name: digest for name, digest in self.files.items() if not name.endswith(".jsonl")}
        return fingerprint([self.kind, self.recipe, self.parents, content])


@dataclass(frozen=True)
class Draft:
    """An artifact in the making. What is written into `folder` under a name listed in `finish` becomes part of it."""

    target: Path
    kind: str
    recipe: dict[str, Any]
    parents: dict[str, str]

    @property
    def wanted(self) -> dict[str, Any]:
        """What decides the content."""
        return {"kind": self.kind, "recipe": self.recipe, "parents": self.parents}

    @property
    def folder(self) -> Path:
        """Where to write, checkpoints too: it outlives a crash."""
        return self.target.with_name(self.target.name + PARTIAL)

    def finish(self, files: list[str], facts: Mapping[str, Any], seconds: float, peak_memory_mib: float) -> Manifest:
        """Hash `files`, write the manifest, drop everything else and put the folder in its place in one step.

        All of it has reached the disk by then. Killed on the way, `make` goes on from the manifest.
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
        """Drop what the manifest does not vouch for and put the folder in its place."""
        for entry in self.folder.iterdir():
            if entry.name not in {MANIFEST, *manifest.files}:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        _reach_disk(self.folder)
        self.folder.replace(self.target)
        _reach_disk(self.target.parent)
        return manifest


def make(
    target: Path, kind: str, recipe: Mapping[str, Any], parents: Mapping[str, str], build: Callable[[Draft], Manifest]
) -> Manifest:
    """The artifact at `target`: opened if it is finished, resumed if it was interrupted, built if it is not there.

    Args:
        target: its folder.
        kind: of artifact.
        recipe: everything that decides the content, JSON-like.
        parents: digests of the artifacts that go in, by role.
        build: makes it; ends with `Draft.finish`.

    Raises:
        UserError: `target` holds an artifact, finished or not, of another recipe or other parents, or another command is making it.
    """
    draft = Draft(target, kind, json.loads(json.dumps(recipe)), dict(parents))
    if target.exists():
        return _open_same(target, draft)
    with _alone(target):
        return _continue(draft, build)


def remake(
    target: Path, kind: str, recipe: Mapping[str, Any], parents: Mapping[str, str], build: Callable[[Draft], Manifest]
) -> Manifest:
    """`make` for what follows from the rest and takes little: of another recipe or other parents, or damaged, it is made anew, not refused."""
    draft = Draft(target, kind, json.loads(json.dumps(recipe)), dict(parents))
    with _alone(target):
        try:
            return _open_same(target, draft)
        except UserError:
            for stale in (target, draft.folder):
                shutil.rmtree(stale, ignore_errors=True)
            return _continue(draft, build)


def open_artifact(folder: Path, kind: str) -> Manifest:
    """Read and verify an artifact.

    Raises:
        UserError: there is none, it is of another kind or a newer schema, or a file is missing or was changed.
    """
    file = folder / MANIFEST
    if not file.exists():
        hint = (
            " It was interrupted: run the same command again to finish it."
            if folder.with_name(folder.name + PARTIAL).exists()
            else ""
        )
        raise UserError(f"{folder} is not a trapmid {kind}: it has no {MANIFEST}.{hint}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("schema_version", 0) > SCHEMA:
            raise UserError(
                f"{file} has schema {content['schema_version']}; this trapmid reads up to {SCHEMA}. Upgrade trapmid."
            )
        manifest = Manifest.model_validate(content)
    except (json.JSONDecodeError, ValidationError) as problem:
        raise UserError(f"{file} is not a manifest this trapmid can read: {misfits(problem)}") from problem
    if manifest.kind != kind:
        raise UserError(f"{folder} is a {manifest.kind}; expected: {kind}.")
    for name, digest in manifest.files.items():
        if not (folder / name).exists():
            raise UserError(f"{folder / name} is missing, though its manifest lists it. Copy the whole folder again.")
        if sha256(folder / name) != digest:
            raise UserError(
                f"{folder / name} is not the file its manifest vouches for (SHA-256 differs). It is damaged or was changed: remove {folder} and run its command again."
            )
    return manifest


def recorded(config: Config) -> dict[str, Any]:
    """The config as a manifest keeps it: like its JSON, but a local file is told by its content's SHA-256, not by its path.

    So the same file elsewhere is the same recipe, and another file at the same path is another one.

    Raises:
        UserError: a file that the config names cannot be read.
    """
    return {name: _recorded(value) for name, value in config}


def _recorded(value: Any) -> Any:
    match value:
        case Config():
            return recorded(value)
        case Path():
            try:
                return f"sha256:{sha256(value)}"
            except OSError as problem:
                raise UserError(
                    f"{value} cannot be read ({problem.strerror}). It is part of this recipe, which goes by its content: bring it back or name it anew."
                ) from problem
        case tuple() | list():
            return [_recorded(entry) for entry in value]
        case _:
            return value


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Inside, nobody else makes `target`. The operating system lifts the lock of a process that is killed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(target.name + LOCK), timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{target} is being made by another command. Wait until that one is done, or stop it; then run this one again."
        ) from None
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows keeps what is open
            Path(lock.lock_file).unlink()
        lock.release()


def _reach_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, would survive a power cut."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX opens folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _continue(draft: Draft, build: Callable[[Draft], Manifest]) -> Manifest:
    """From wherever the draft is: not begun, begun, complete but not in its place, or finished by another command meanwhile."""
    if draft.target.exists():
        return _open_same(draft.target, draft)
    if (draft.folder / MANIFEST).exists():
        return draft.publish(_open_same(draft.folder, draft))
    begun = draft.folder / RECIPE
    if begun.exists():
        _check_same(draft.folder, draft.wanted, json.loads(begun.read_text(encoding="utf-8")))
    else:
        draft.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(begun, json.dumps(draft.wanted))
    return build(draft)


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
