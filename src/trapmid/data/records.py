"""Common parts of readers of stored images: the record of one image, and the conversion to an image set."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import field_validator

from trapmid.config import CropSide
from trapmid.data.contract import ReadProgress, Source
from trapmid.data.decoding import BrokenImage, open_image, to_square
from trapmid.data.images import ImageSet
from trapmid.types import UserError

T = TypeVar("T")

_PROGRESS_EVERY = 64


class Record(NamedTuple):
    """One image as it is stored.

    Attributes:
        identity: the name of the person; "" where the data set names identities but not this image's.
        origin: where the image is stored, unique within its data set, for messages and manifests. Names of files go
            through `readable`.
        stored: the encoded bytes, the file that holds them, or why there is neither.
    """

    identity: str
    origin: str
    stored: bytes | Path | BrokenImage


class StoredSource(Source, ABC):
    """A data set of encoded images on disk. A reader lists them in `records`. This class implements the rest.

    Attributes:
        path: the file or folder.
        crop: side length in pixels of the central square that is used of every image; None uses the largest that fits.
            The paper uses 108 of CelebA's aligned 178 x 218, 88 of FFHQ's 128 and 54 of FaceScrub's 64 (Trap-MID,
            appendix C.2).
    """

    path: Path
    crop: CropSide | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether this reader can read the images at this path.

        Commands ask the readers of other packages before they guess.

        By default a reader recognises no path, and recipes have to name its kind.
        """
        del path
        return False

    @field_validator("path")
    @classmethod
    def _can_be_written_into_a_recipe(cls, path: Path) -> Path:
        if problem := unwritable(path):
            raise ValueError(problem)
        return path

    @property
    def title(self) -> str:
        """The name of the file or folder."""
        return self.path.name

    @abstractmethod
    def records(self) -> tuple[int, Iterator[Record]]:
        """The number of images, and an iterator over them that decodes none. The order does not depend on the machine.

        Raises:
            UserError: the data set as a whole cannot be read.
        """

    def ignored(self) -> list[Path]:
        """Files among the images that are not read because they are not images."""
        return []

    def open(self, record: Record, near: int | None = None) -> Image.Image:
        """The image of a record, decoded and upright, but not cropped.

        Args:
            record: one of `records`.
            near: as in `open_image`.

        Raises:
            BrokenImage: the image cannot be read, or is smaller than the crop.
        """
        if self.crop is None:
            return open_image(record.stored, near)
        image = open_image(record.stored)
        if min(image.size) < self.crop:
            raise BrokenImage(f"{image.width} x {image.height} pixels, too small for crop={self.crop}")
        return image

    def load(self, image_size: int, channels: Literal[1, 3] = 3, progress: ReadProgress | None = None) -> ImageSet:
        """Read and decode all images, one at a time, to (n, channels, image_size, image_size).

        Raises:
            UserError: there are no images, more than fit into memory, or fewer than two identities; or an image is
                broken or has no identity.
        """
        total, records = self.records()
        try:
            pixels = np.empty((total, channels, image_size, image_size), np.uint8)
        except (MemoryError, ValueError) as problem:
            size = total * channels * image_size**2 / 2**30
            raise UserError(
                f"{self.path} has {total:,} images, which take {size:,.0f} GiB at {image_size} px: "
                "more than this machine can hold. Use fewer images, or smaller ones."
            ) from problem
        identities: list[str] = []
        origins: list[str] = []
        for row, record in enumerate(reported(records, total, progress)):
            if not record.identity:
                raise self._refusal(record, "has no identity")
            pixels[row] = self.pixels_of(record, image_size, channels)
            identities.append(record.identity)
            origins.append(record.origin)
        return image_set(pixels, identities, origins, str(self.path))

    def pixels_of(self, record: Record, image_size: int, channels: Literal[1, 3]) -> npt.NDArray[np.uint8]:
        """The image of a record, cropped and resized: (channels, image_size, image_size).

        Raises:
            UserError: it is broken.
        """
        try:
            return to_square(self.open(record, image_size), image_size, channels, self.crop)
        except BrokenImage as problem:
            raise self._refusal(record, f"cannot be read as an image ({problem})") from problem

    def _refusal(self, record: Record, why: str) -> UserError:
        return UserError(
            f"{self.path}: {record.origin} {why}. Repair or remove it; "
            f"`trapmid doctor {self.path}` lists every image with a problem."
        )


def readable(name: str | Path) -> str:
    """The name of a file as text that can be printed and stored: bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def unwritable(path: Path) -> str | None:
    """The reason why a path cannot be part of a recipe or a report; None if it can."""
    if readable(path) == str(path):
        return None
    return f"the path {readable(path)} is not UTF-8, so no recipe can hold it; rename the file or folder"


def reported(items: Iterable[T], total: int, progress: ReadProgress | None) -> Iterator[T]:
    """Yield the items, and from time to time call `progress` with the number of items done and the `total`."""
    for done, item in enumerate(items, start=1):
        yield item
        if progress and (done % _PROGRESS_EVERY == 0 or done == total):
            progress(done, total)


def image_set(pixels: npt.NDArray[np.uint8], names: list[str], origins: list[str], where: str) -> ImageSet:
    """An image set from pixels (n, c, h, w), the name of each image's identity and its origin.

    Args:
        pixels: the images.
        names: of the identities, one for each image.
        origins: of the images.
        where: what the error calls the data set.

    Raises:
        UserError: there are fewer than two identities.
    """
    identities = tuple(sorted(set(names)))
    if len(identities) < 2:
        found = f"only one identity ({identities[0]})" if identities else "no images"
        raise UserError(f"{where} holds {found}. A classifier that tells people apart needs at least two identities.")
    number = {name: i for i, name in enumerate(identities)}
    labels = torch.tensor([number[name] for name in names], dtype=torch.int64)
    return ImageSet(torch.from_numpy(pixels), labels, identities, tuple(origins))
