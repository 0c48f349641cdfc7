"""The readers of the package, including faces drawn by code, and functions that guess the reader of a path."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from trapmid.config import CountOrZero, Seed
from trapmid.data.celeba import CelebASource, identity_files
from trapmid.data.contract import SOURCES, ReadProgress, Source
from trapmid.data.folder import FlatFolderSource, FolderSource, is_image
from trapmid.data.images import ImageSet
from trapmid.data.parquet import ParquetSource
from trapmid.data.records import StoredSource, image_set, unwritable
from trapmid.data.synthetic import render_faces
from trapmid.types import UserError

_PEOPLE_AT_A_TIME = 16


class SyntheticSource(Source):
    """Faces of people who do not exist, drawn by code: nothing is downloaded, and no real person is shown.

    Attributes:
        identities: number of people.
        images_per_identity: number of images of each person.
        seed: seed of the population.
        first_identity: the number of the first person. Sources with the same seed and ranges of numbers that do not
            overlap have no person in common, which keeps the public faces apart from the private ones.
    """

    kind: Literal["synthetic"] = "synthetic"
    identities: Annotated[int, Field(ge=2, le=10**6)] = 50
    images_per_identity: Annotated[int, Field(ge=1, le=10**6)] = 40
    seed: Seed = 0
    first_identity: CountOrZero = 0

    @property
    def names_identities(self) -> bool:
        """True."""
        return True

    @property
    def title(self) -> str:
        """A title that states that the faces are drawn."""
        return "synthetic faces drawn by code"

    @property
    def depicts(self) -> str:
        """Drawn faces."""
        return "drawn faces"

    @property
    def identity_count(self) -> int:
        """The number of people to draw."""
        return self.identities

    def load(self, image_size: int, channels: Literal[1, 3] = 3, progress: ReadProgress | None = None) -> ImageSet:
        """Draw the faces at their final size: (identities * images_per_identity, channels, image_size, image_size)."""
        each, total = self.images_per_identity, self.identities * self.images_per_identity
        pixels = np.empty((total, channels, image_size, image_size), np.uint8)
        for first in range(0, self.identities, _PEOPLE_AT_A_TIME):
            people = min(_PEOPLE_AT_A_TIME, self.identities - first)
            drawn, _ = render_faces(people, each, image_size, self.seed, self.first_identity + first)
            if channels == 1:
                strip = Image.fromarray(drawn.reshape(-1, image_size, 3)).convert("L")
                drawn = np.asarray(strip).reshape(*drawn.shape[:3], 1)
            pixels[first * each : (first + people) * each] = drawn.transpose(0, 3, 1, 2)
            if progress:
                progress((first + people) * each, total)
        names = [f"synthetic-{self.seed}-{self.first_identity + person:06d}" for person in range(self.identities)]
        origins = [f"{name}/{number:06d}" for name in names for number in range(each)]
        return image_set(pixels, [name for name in names for _ in range(each)], origins, "the synthetic source")


READERS: tuple[type[Source], ...] = (FolderSource, FlatFolderSource, ParquetSource, CelebASource, SyntheticSource)
"""The readers of this package. `SOURCES` also includes those of other packages."""


def guess_source(path: str | Path) -> StoredSource:
    """The source that a path looks like.

    Raises:
        UserError: it looks like none, or cannot be read.
    """
    path = Path(path)
    if reason := unwritable(path):
        raise UserError(f"Images cannot be read from there: {reason}.")
    try:
        return _guess(path)
    except OSError as problem:
        raise UserError(
            f"{path} cannot be read ({problem.strerror}). Make it readable, or name another path."
        ) from problem


def guess_half(path: Path, half: Literal["private", "public"]) -> StoredSource:
    """The source that a path looks like. Of CelebA as distributed, it reads only the private or the public identities.

    Raises:
        UserError: it looks like none, or cannot be read.
    """
    source = guess_source(path)
    return CelebASource(path=path, part=half) if isinstance(source, CelebASource) else source


def guess_flat(path: Path, crop: int) -> StoredSource:
    """The source that a path looks like.

    A folder of images is read without names, at its central `crop` x `crop` pixels.

    Raises:
        UserError: it looks like none, or cannot be read.
    """
    source = guess_source(path)
    return FlatFolderSource(path=path, crop=crop) if isinstance(source, FolderSource | FlatFolderSource) else source


def _guess(path: Path) -> StoredSource:
    for reader in SOURCES:
        if issubclass(reader, StoredSource) and reader.recognises(path):
            return reader.model_validate({"path": path})
    if path.suffix == ".parquet" and path.is_file():
        return ParquetSource(path=path)
    if any(file.is_file() for file in identity_files(path)):
        return CelebASource(path=path)
    entries = list(path.iterdir()) if path.is_dir() else []
    if any(entry.suffix == ".parquet" for entry in entries):
        return ParquetSource(path=path)
    if any(entry.is_dir() or (entry.is_symlink() and not is_image(entry)) for entry in entries):
        return FolderSource(path=path)
    if any(map(is_image, entries)):
        return FlatFolderSource(path=path)
    what = "does not exist" if not path.exists() else "holds no images" if path.is_dir() else "is not a .parquet file"
    raise UserError(
        f"{path} {what}. Expected a folder with one folder of images per identity, a .parquet file of images, "
        "CelebA as distributed (img_align_celeba/ and identity_CelebA.txt), or, for public images, a folder of images."
    )
