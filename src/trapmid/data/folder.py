"""Reads folders of images: one folder per identity, or images of unnamed people."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from trapmid.data.decoding import BrokenImage
from trapmid.data.records import Record, StoredSource, readable
from trapmid.types import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".bmp", ".webp", ".tif", ".tiff"})
"""The suffixes of images, in lower case."""


class FolderSource(StoredSource):
    """Images in one folder per identity, which has the identity's name. Folders below it are read as well.

    Links to folders are followed. A folder that cannot be read is an error.
    """

    kind: Literal["folder"] = "folder"

    @property
    def names_identities(self) -> bool:
        """True, because folders are identities."""
        return True

    def records(self) -> tuple[int, Iterator[Record]]:
        """All images in the order of their paths.

        Raises:
            UserError: there is no such folder, or no image one level down.
        """
        entries = [entry for entry in entries_below(self.path) if _is_of_an_identity(entry)]
        if not entries:
            raise UserError(
                f"{self.path} holds no images in folders of its own. Expected one folder per identity, "
                f"{self.path}/IDENTITY/*.jpg; what is read is {', '.join(sorted(SUFFIXES))}."
            )
        return len(entries), (_record(self.path, entry, readable(entry.name.parts[0])) for entry in entries)

    def ignored(self) -> list[Path]:
        """Files without the suffix of an image, and files outside of the identities' folders."""
        return [self.path / entry.name for entry in entries_below(self.path) if not _is_of_an_identity(entry)]


class FlatFolderSource(StoredSource):
    """Images of unnamed people, such as FFHQ: every image counts as a person of its own, and folders mean nothing.

    This is enough for public images only. A folder of numbered folders looks like one with identities;
    `--set public.kind=flat-folder` says that it has none.
    """

    kind: Literal["flat-folder"] = "flat-folder"

    @property
    def names_identities(self) -> bool:
        """False."""
        return False

    def records(self) -> tuple[int, Iterator[Record]]:
        """All images in the order of their paths.

        Raises:
            UserError: there is no such folder, or no image in it.
        """
        entries = [entry for entry in entries_below(self.path) if entry.problem or is_image(entry.name)]
        if not entries:
            raise UserError(f"{self.path} holds no images; what is read is {', '.join(sorted(SUFFIXES))}.")
        return len(entries), (_record(self.path, entry, readable(entry.name.as_posix())) for entry in entries)

    def ignored(self) -> list[Path]:
        """Files without the suffix of an image."""
        found = entries_below(self.path)
        return [self.path / entry.name for entry in found if not (entry.problem or is_image(entry.name))]


class Entry(NamedTuple):
    """A file in a folder, or a folder that cannot be read.

    Attributes:
        name: its path, relative to the folder.
        problem: why it cannot be read; "" for files.
    """

    name: Path
    problem: str = ""


def entries_below(path: Path) -> list[Entry]:
    """All files of a folder and of the folders below it, sorted by path. Hidden files and folders are left out.

    Links are followed, each folder is read once, and what cannot be read is listed with its problem: a folder without
    permission, a link that leads nowhere or to a folder that was read already.

    Raises:
        UserError: there is no such folder, it cannot be read, or two names in it differ only in bytes that are not
            UTF-8.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a folder. Expected a folder of images.")
    entries = sorted(_walk(path, Path(), set()))
    if entries and entries[0].name == Path():
        raise UserError(f"{path} cannot be read ({entries[0].problem}). Make it readable, or choose another folder.")
    parts = {part for entry in entries for part in entry.name.parts}
    if len({readable(part) for part in parts}) < len(parts):
        raise UserError(f"{path} holds names that differ only in bytes that are not UTF-8. Rename them.")
    return entries


def is_image(name: Path) -> bool:
    """Whether a file has the name of an image."""
    return name.suffix.lower() in SUFFIXES


def _walk(root: Path, below: Path, read: set[str]) -> Iterator[Entry]:
    try:
        real = os.path.realpath(root / below, strict=True)
        if real in read:
            yield Entry(below, "it is a link to a folder that was read already")
            return
        read.add(real)
        found = sorted(os.scandir(root / below), key=lambda entry: entry.name)
    except OSError as problem:
        yield Entry(below, problem.strerror or str(problem))
        return
    for entry in found:
        name = below / entry.name
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                yield from _walk(root, name, read)
                continue
            if entry.is_symlink():
                entry.stat()
        except OSError as problem:
            yield Entry(name, problem.strerror or str(problem))
        else:
            yield Entry(name)


def _is_of_an_identity(entry: Entry) -> bool:
    """Whether an entry is an image of an identity, or an unreadable folder that may contain some."""
    return bool(entry.problem) or (is_image(entry.name) and len(entry.name.parts) > 1)


def _record(root: Path, entry: Entry, identity: str) -> Record:
    stored = BrokenImage(entry.problem) if entry.problem else root / entry.name
    return Record(identity, readable(entry.name.as_posix()), stored)
