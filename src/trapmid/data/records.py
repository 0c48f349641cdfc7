"""What every reader of stored images shares: a record, how it becomes pixels, and how records become an image set."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from trapmid.config import Config, CropSide
from trapmid.data.images import ImageSet
from trapmid.types import UserError

Progress: TypeAlias = Callable[[int, int | None], None]
"""Told how many images are done, and how many there are where that is known."""

T = TypeVar("T")

_PROGRESS_EVERY = 64


class Record(NamedTuple):
    """One image as it is stored.

    Attributes:
        identity: the name of the person, "" where the data set gives none.
        source: what to call the image in messages and manifests, unique within its data set.
        stored: the encoded bytes, or the file that holds them.
    """

    identity: str
    source: str
    stored: bytes | Path


class BrokenImage(Exception):  # noqa: N818 (a state of the image, and a UserError only once somebody insists on it)
    """The stored bytes are not a complete image of a kind that can be used; the text says why."""


def open_image(stored: bytes | Path, near: int | None = None) -> Image.Image:
    """Decode a stored image completely, and turn it upright.

    Args:
        stored: the encoded bytes, or the file that holds them.
        near: the size wanted in the end. Large JPEGs are then decoded at a fraction of theirs, at least twice this one.

    Raises:
        BrokenImage: missing, unreadable, truncated, or with more than eight bits a channel.
    """
    if not stored:
        raise BrokenImage("no bytes")
    try:
        with Image.open(stored if isinstance(stored, Path) else BytesIO(stored)) as image:
            if image.mode.startswith(("I", "F")):
                raise BrokenImage(f"more than 8 bits a channel, mode {image.mode}")
            if near is not None:
                image.draft(None, (2 * near, 2 * near))
            image.load()
            return ImageOps.exif_transpose(image)
    except BrokenImage:
        raise
    except UnidentifiedImageError as problem:
        raise BrokenImage("not an image of a known format") from problem
    except Exception as problem:  # a parser lets through whatever it trips over, from SyntaxError to struct.error
        raise BrokenImage(str(problem) or type(problem).__name__) from problem


def to_channels(image: Image.Image, channels: Literal[1, 3]) -> Image.Image:
    """Grey or colour, whatever it was: transparency is dropped, colour becomes grey by the usual luma weights."""
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette with transparency warns when it is asked for colours alone
    return image.convert("RGB" if channels == 3 else "L")


def to_square(image: Image.Image, size: int, channels: Literal[1, 3], crop: int | None = None) -> npt.NDArray[np.uint8]:
    """Crop to the central square of side `crop`, else to the largest, and resize: (channels, size, size), uint8.

    The filter is Pillow's bilinear, which averages over what it shrinks (antialiased): the paper's `transforms.Resize`
    on a PIL image.
    """
    image = to_channels(image, channels)
    side = crop or min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if box != (0, 0, *image.size):
        image = image.crop(box)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels.reshape(size, size, channels).transpose(2, 0, 1))


class StoredSource(Config, ABC):
    """A data set of encoded images with an identity each, on disk.

    Attributes:
        path: where it lies.
        crop: side in pixels of the central square that is used of every image; None is the largest that fits. The papers
            take 108 of CelebA's aligned 178 x 218, 88 of FFHQ's 128 and 54 of FaceScrub's 64 (Trap-MID App. C.2).
    """

    path: Path
    crop: CropSide | None = None

    @abstractmethod
    def records(self) -> tuple[int, Iterator[Record]]:
        """How many images there are, and all of them in an order that does not depend on the machine, none decoded yet.

        Raises:
            UserError: the data set as a whole cannot be read.
        """

    def ignored(self) -> list[Path]:
        """Files that lie among the images and are of no kind that is read."""
        return []

    def open(self, record: Record, near: int | None = None) -> Image.Image:
        """The image of a record, decoded and upright, not cropped; `near` is as in `open_image`.

        Raises:
            BrokenImage: it cannot be read, or is smaller than the crop.
        """
        if self.crop is None:
            return open_image(record.stored, near)
        image = open_image(record.stored)
        if min(image.size) < self.crop:
            raise BrokenImage(f"{image.width} x {image.height} pixels, too small for crop={self.crop}")
        return image

    def load(self, image_size: int, channels: Literal[1, 3] = 3, progress: Progress | None = None) -> ImageSet:
        """Read and decode everything, one image at a time, to (n, channels, image_size, image_size).

        Raises:
            UserError: no images, a broken image, an image without identity, or fewer than two identities.
        """
        total, records = self.records()
        pixels = np.empty((total, channels, image_size, image_size), np.uint8)
        names: list[str] = []
        sources: list[str] = []
        for row, record in enumerate(reported(records, total, progress)):
            if not record.identity:
                raise self._refusal(record, "has no identity")
            pixels[row] = self.pixels_of(record, image_size, channels)
            names.append(record.identity)
            sources.append(record.source)
        return image_set(pixels, names, sources, str(self.path))

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
            f"{self.path}: {record.source} {why}. Mend or remove it; "
            f"`trapmid doctor {self.path}` lists every image with a problem."
        )


def reported(items: Iterable[T], total: int, progress: Progress | None) -> Iterator[T]:
    """The items, telling `progress` now and then how many of the `total` have been dealt with."""
    for done, item in enumerate(items, start=1):
        yield item
        if progress and (done % _PROGRESS_EVERY == 0 or done == total):
            progress(done, total)


def image_set(pixels: npt.NDArray[np.uint8], names: list[str], sources: list[str], where: str) -> ImageSet:
    """An image set from pixels (n, c, h, w) and the identity and source of each; `where` is for the message.

    Raises:
        UserError: fewer than two identities.
    """
    identities = tuple(sorted(set(names)))
    if len(identities) < 2:
        found = f"only one identity ({identities[0]})" if identities else "no images"
        raise UserError(f"{where} holds {found}. At least two identities are needed: telling people apart takes two.")
    number = {name: i for i, name in enumerate(identities)}
    labels = torch.tensor([number[name] for name in names], dtype=torch.int64)
    return ImageSet(torch.from_numpy(pixels), labels, identities, tuple(sources))
