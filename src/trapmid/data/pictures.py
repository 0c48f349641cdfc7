"""Images from files, folders and Parquet files, in batches, for uses that need no identities."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from trapmid.data.contract import ReadProgress
from trapmid.data.folder import FlatFolderSource, is_image
from trapmid.data.parquet import ParquetSource
from trapmid.data.records import Record, StoredSource, readable, reported, unwritable
from trapmid.types import Pixels, UserError


class Pictures(NamedTuple):
    """A batch of images: where each is stored, and their pixels (n, channels, size, size)."""

    origins: tuple[str, ...]
    pixels: Pixels


def read_pictures(
    paths: Iterable[str | Path],
    image_size: int,
    channels: Literal[1, 3] = 3,
    *,
    crop: int | None = None,
    batch: int = 256,
    progress: ReadProgress | None = None,
) -> Iterator[Pictures]:
    """All images under `paths`, in that order, decoded to (n, channels, image_size, image_size), in batches.

    Args:
        paths: image files, folders of images with all folders below them, Parquet files and folders of Parquet files,
            such as the folder of an attack.
        image_size: side length in pixels.
        channels: one or three.
        crop: side length of the central square that is used, as in `StoredSource`.
        batch: number of images in a batch.
        progress: called with the number of finished images.

    Raises:
        UserError: a path holds no images, or a broken one.
    """
    found = [(path, *_stored(path, crop)) for path in map(Path, paths)]
    listed = ((path, source, record) for path, source, _, records in found for record in records)
    origins: list[str] = []
    pixels: list[np.ndarray] = []
    for path, source, record in reported(listed, sum(count for _, _, count, _ in found), progress):
        within = record.origin if _is_single_image(path) else f"{path.name}/{record.origin}"
        origins.append(within if len(found) > 1 else record.origin)
        pixels.append(source.pixels_of(record, image_size, channels))
        if len(pixels) == batch:
            yield Pictures(tuple(origins), torch.from_numpy(np.stack(pixels)))
            origins, pixels = [], []
    if not any(count for _, _, count, _ in found):
        looked = ", ".join(str(path) for path, *_ in found)
        raise UserError(f"{looked}: no images. Expected image files, folders of images or .parquet files.")
    if pixels:
        yield Pictures(tuple(origins), torch.from_numpy(np.stack(pixels)))


def _is_single_image(path: Path) -> bool:
    return is_image(path) and not path.is_dir()


def _stored(path: Path, crop: int | None) -> tuple[StoredSource, int, Iterator[Record]]:
    if not path.exists():
        raise UserError(f"{readable(path)} does not exist. Expected image files, folders of images or .parquet files.")
    holder = path.parent if _is_single_image(path) else path
    if problem := unwritable(holder):
        raise UserError(f"Images cannot be read from there: {problem}.")
    if _is_single_image(path):
        name = readable(path.name)
        return FlatFolderSource(path=holder, crop=crop), 1, iter([Record(name, name, path)])
    parquet = not path.is_dir() or any(path.glob("*.parquet"))
    source: StoredSource = (
        ParquetSource(path=path, crop=crop, identity_column=None) if parquet else FlatFolderSource(path=path, crop=crop)
    )
    return source, *source.records()
