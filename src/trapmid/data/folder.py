"""Reads a folder of images with one subfolder per identity: root/identity/*.jpg."""

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
        images = [name for name in self._files() if _is_image(name)]
        if not images:
            raise UserError(
                f"{self.path} holds no images in folders of its own. Expected one folder per identity, "
                f"{self.path}/IDENTITY/*.jpg; what is read is {', '.join(sorted(SUFFIXES))}."
            )
        return len(images), (Record(name.parts[0], name.as_posix(), self.path / name) for name in images)

    def ignored(self) -> list[Path]:
        """Files with another suffix than images have, and files in no identity's folder."""
        return [self.path / name for name in self._files() if not _is_image(name)]

    def _files(self) -> list[Path]:
        """All files, relative to the root and sorted; hidden ones apart, which systems leave without being asked."""
        if not self.path.is_dir():
            raise UserError(f"{self.path} is not a folder. Expected a folder with one folder of images per identity.")
        names = (entry.relative_to(self.path) for entry in self.path.rglob("*") if not entry.is_dir())
        return sorted(name for name in names if not any(part.startswith(".") for part in name.parts))


def _is_image(name: Path) -> bool:
    return name.suffix.lower() in SUFFIXES and len(name.parts) > 1
