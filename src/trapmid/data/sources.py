"""Where images come from: the union of all readers, the faces drawn by code, and a guess from a path."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from PIL import Image
from pydantic import Field

from trapmid.config import Config, CountOrZero, Seed
from trapmid.data.celeba import CelebASource, identity_files
from trapmid.data.folder import FlatFolderSource, FolderSource, is_image
from trapmid.data.images import ImageSet
from trapmid.data.parquet import ParquetSource
from trapmid.data.records import Progress, image_set
from trapmid.data.synthetic import render_faces
from trapmid.types import UserError

_PEOPLE_AT_A_TIME = 16


class SyntheticSource(Config):
    """Faces of people who do not exist: nothing to download, nobody to harm.

    Attributes:
        identities: how many people.
        images_per_identity: pictures of each.
        seed: another seed is another population.
        first_identity: the number of the first person. Sources of one seed whose ranges of numbers do not overlap share
            nobody: this is what keeps the public faces apart from the private ones.
    """

    kind: Literal["synthetic"] = "synthetic"
    identities: Annotated[int, Field(ge=2, le=10**6)] = 50
    images_per_identity: Annotated[int, Field(ge=1, le=10**6)] = 40
    seed: Seed = 0
    first_identity: CountOrZero = 0

    def load(self, image_size: int, channels: Literal[1, 3] = 3, progress: Progress | None = None) -> ImageSet:
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
        sources = [f"{name}/{picture:06d}" for name in names for picture in range(each)]
        return image_set(pixels, [name for name in names for _ in range(each)], sources, "the synthetic source")


Stored: TypeAlias = FolderSource | FlatFolderSource | ParquetSource | CelebASource
"""The kinds that lie on disk."""

Source: TypeAlias = Annotated[Stored | SyntheticSource, Field(discriminator="kind")]
"""Every kind of data set; in JSON, `kind` says which."""

SOURCES: tuple[type[Config], ...] = (FolderSource, FlatFolderSource, ParquetSource, CelebASource, SyntheticSource)


def guess_source(path: Path) -> Stored:
    """The source that a path looks like.

    Raises:
        UserError: it looks like none.
    """
    if path.suffix == ".parquet" and path.is_file():
        return ParquetSource(path=path)
    if any(file.is_file() for file in identity_files(path)):
        return CelebASource(path=path)
    if path.is_dir() and any(path.glob("*.parquet")):
        return ParquetSource(path=path)
    if path.is_dir() and any(entry.is_dir() for entry in path.iterdir()):
        return FolderSource(path=path)
    if path.is_dir() and any(map(is_image, path.iterdir())):
        return FlatFolderSource(path=path)
    what = "does not exist" if not path.exists() else "holds no images" if path.is_dir() else "is not a .parquet file"
    raise UserError(
        f"{path} {what}. Expected a folder with one folder of images per identity, a .parquet file of images, "
        "CelebA as distributed (img_align_celeba/ and identity_CelebA.txt), or, for public images, a folder of images."
    )
