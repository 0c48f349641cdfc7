"""Reads folders of images: root/identity/*.jpg, or images of unknown people wherever they lie."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from trapmid.data.records import Record, StoredSource
from trapmid.types import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".bmp", ".webp", ".tif", ".tiff"})
"""What counts as an image, in lower case."""


class FolderSource(StoredSource):
    """Images in one folder per identity; the folder's name is the identity, deeper folders count towards it."""

    kind: Literal["folder"] = "folder"

    def records(self) -> tuple[int, Iterator[Record]]:
        """All images in the order of their path.

        Raises:
            UserError: there is no such folder, or no image one level down.
        """
        images = [name for name in files_below(self.path) if is_image(name) and len(name.parts) > 1]
        if not images:
            raise UserError(
                f"{self.path} holds no images in folders of its own. Expected one folder per identity, "
                f"{self.path}/IDENTITY/*.jpg; what is read is {', '.join(sorted(SUFFIXES))}."
            )
        return len(images), (Record(name.parts[0], name.as_posix(), self.path / name) for name in images)

    def ignored(self) -> list[Path]:
        """Files with another suffix than images have, and files in no identity's folder."""
        return [self.path / name for name in files_below(self.path) if not is_image(name) or len(name.parts) == 1]


class FlatFolderSource(StoredSource):
    """Images of people who are not named, such as FFHQ: each image is a person of its own, folders mean nothing.

    Good for the public side only. A folder of numbered folders looks like one with identities; say `public.kind=flat-folder`.
    """

    kind: Literal["flat-folder"] = "flat-folder"

    def records(self) -> tuple[int, Iterator[Record]]:
        """All images in the order of their path.

        Raises:
            UserError: there is no such folder, or no image in it.
        """
        images = [name.as_posix() for name in files_below(self.path) if is_image(name)]
        if not images:
            raise UserError(f"{self.path} holds no images; what is read is {', '.join(sorted(SUFFIXES))}.")
        return len(images), (Record(name, name, self.path / name) for name in images)

    def ignored(self) -> list[Path]:
        """Files with another suffix than images have."""
        return [self.path / name for name in files_below(self.path) if not is_image(name)]


def files_below(path: Path) -> list[Path]:
    """All files of a folder, relative to it and sorted; hidden ones apart, which systems leave without being asked.

    Raises:
        UserError: there is no such folder.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a folder. Expected a folder of images.")
    names = (entry.relative_to(path) for entry in path.rglob("*") if not entry.is_dir())
    return sorted(name for name in names if not any(part.startswith(".") for part in name.parts))


def is_image(name: Path) -> bool:
    """Whether a file's name is that of an image."""
    return name.suffix.lower() in SUFFIXES
