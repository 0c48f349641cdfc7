"""Artifacts: folders with a manifest.json, made once, and resumed if interrupted.

An artifact is made in a folder beside its own, which is renamed when it is complete, and verified whenever it is
opened.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trapmid.engine.progress import Progress, no_progress
from trapmid.files import alone, write_atomic
from trapmid.manifests import MANIFEST, PARTIAL, RECIPE, Manifest, OthersArtifactError, open_artifact, sha256, versions
from trapmid.reading import read_json
from trapmid.types import UserError

REPLACED = ".replaced"
"""The suffix of the name of an old artifact while a new one takes its place."""


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
