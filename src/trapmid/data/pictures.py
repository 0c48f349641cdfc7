"""Pictures of anybody, from wherever they lie, a batch at a time: for questions that need no identities."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from trapmid.data.folder import FlatFolderSource, is_image
from trapmid.data.parquet import ParquetSource
from trapmid.data.records import Progress, Record, StoredSource, reported
from trapmid.types import Pixels, UserError


class Pictures(NamedTuple):
    """A batch of pictures and what to call each."""

    sources: tuple[str, ...]
    pixels: Pixels


def read_pictures(
    paths: Iterable[Path],
    image_size: int,
    channels: Literal[1, 3] = 3,
    *,
    crop: int | None = None,
    batch: int = 256,
    progress: Progress | None = None,
) -> Iterator[Pictures]:
    """All pictures under `paths`, in that order, decoded to (n, channels, image_size, image_size), at most `batch` at once.

    Args:
        paths: image files, folders of images however deep, Parquet files and folders of them, an attack's folder among these.
        image_size: pixels.
        channels: one or three.
        crop: side of the central square that is used, as in `StoredSource`.
        batch: pictures at once.
        progress: told how many are done.

    Raises:
        UserError: a path that holds no pictures, or a broken one.
    """
    paths = list(paths)
    found = [(path, *_stored(path, crop)) for path in paths]
    named = ((path, source, record) for path, source, _, records in found for record in records)
    sources: list[str] = []
    pixels: list[np.ndarray] = []
    for path, source, record in reported(named, sum(count for _, _, count, _ in found), progress):
        name = record.source if path.is_file() and is_image(path) else f"{path.name}/{record.source}"
        sources.append(name if found[1:] else record.source)
        pixels.append(source.pixels_of(record, image_size, channels))
        if len(pixels) == batch:
            yield Pictures(tuple(sources), torch.from_numpy(np.stack(pixels)))
            sources, pixels = [], []
    if not any(count for _, _, count, _ in found):
        raise UserError(
            f"{', '.join(map(str, paths))}: no images. Expected image files, folders of images or .parquet files."
        )
    if pixels:
        yield Pictures(tuple(sources), torch.from_numpy(np.stack(pixels)))


def _stored(path: Path, crop: int | None) -> tuple[StoredSource, int, Iterator[Record]]:
    if path.is_file() and is_image(path):
        return FlatFolderSource(path=path.parent, crop=crop), 1, iter([Record(path.name, path.name, path)])
    parquet = path.is_file() or (path.is_dir() and any(path.glob("*.parquet")))
    source: StoredSource
    if parquet:
        source = ParquetSource(path=path, crop=crop, identity_column=None)
    elif path.is_dir():
        source = FlatFolderSource(path=path, crop=crop)
    else:
        raise UserError(f"{path} does not exist. Expected image files, folders of images or .parquet files.")
    return source, *source.records()
