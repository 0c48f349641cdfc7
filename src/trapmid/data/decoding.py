"""From a stored image to pixels: which files are images, how they are decoded, and what is refused.

Decoded are JPEG, PNG, PPM and PGM, BMP, WebP, TIFF and GIF, whatever the file's name says; other decoders of Pillow are
not used for untrusted files. An image becomes RGB or grey with 8 bits a channel as follows:

- EXIF orientation is applied, so the image stands upright.
- Of an animation or a file with several pages, the first frame is used.
- Transparency is dropped, also that of a palette: the colour stored below it shows.
- CMYK and other colour spaces are converted by Pillow's formulas, without a colour profile.
- An image with more than 8 bits a channel is refused, since Pillow would cut 16-bit colour silently.
- An image of more than `Image.MAX_IMAGE_PIXELS` pixels (about 89 million) is refused as a decompression bomb.
"""

import stat
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from trapmid.errors import shown

_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "WEBP", "TIFF", "GIF")
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes that convert to RGB and grey."""

_SPECIAL_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class BrokenImage(Exception):  # noqa: N818 - a state of the image; the reader decides whether it is an error
    """The stored bytes are not a complete image of a kind that can be used; the text says why."""


def open_image(stored: bytes | Path | BrokenImage, near: int | None = None) -> Image.Image:
    """Decode a stored image completely and turn it upright.

    Args:
        stored: the encoded bytes, the file that holds them, or why there is neither.
        near: the side length wanted in the end, in pixels. Large JPEGs are then decoded at a fraction of their size,
            which is at least twice this length.

    Raises:
        BrokenImage: the image is missing, unreadable, truncated, too large, or has more than 8 bits a channel.
    """
    if isinstance(stored, BrokenImage):
        raise stored
    if isinstance(stored, Path):
        check_regular(stored)
    elif not stored:
        raise BrokenImage("no bytes")
    try:
        with Image.open(stored if isinstance(stored, Path) else BytesIO(stored), formats=_FORMATS) as image:
            _check_kind(image)
            if near is not None:
                image.draft(None, (2 * near, 2 * near))
            image.load()
            return ImageOps.exif_transpose(image)
    except BrokenImage:
        raise
    except UnidentifiedImageError as problem:
        raise BrokenImage("not an image of a known format") from problem
    except OSError as problem:
        raise BrokenImage(problem.strerror or shown(problem) or type(problem).__name__) from problem
    except Exception as problem:  # Pillow's parsers raise many exceptions, from SyntaxError to struct.error
        raise BrokenImage(shown(problem) or type(problem).__name__) from problem


def check_regular(file: Path) -> None:
    """Make sure that opening a file does not block: a named pipe or a device would.

    Raises:
        BrokenImage: it is not a regular file, or not there.
    """
    try:
        mode = file.stat().st_mode
    except OSError as problem:
        raise BrokenImage(problem.strerror or str(problem)) from problem
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _SPECIAL_FILES if is_kind(mode)), "a device")
        raise BrokenImage(f"not a regular file but {kind}")


def to_channels(image: Image.Image, channels: Literal[1, 3]) -> Image.Image:
    """An image in colour (three channels) or grey (one, by the usual luma weights); transparency is dropped."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # Pillow warns if a palette with transparency is converted to RGB directly
    return image.convert("RGB" if channels == 3 else "L")


def to_square(image: Image.Image, size: int, channels: Literal[1, 3], crop: int | None = None) -> npt.NDArray[np.uint8]:
    """Crop to the central square and resize: (channels, size, size), uint8.

    The filter is Pillow's bilinear, which averages over what it shrinks (antialiased). It is what `transforms.Resize`
    does to a PIL image, and so what the paper's code does.

    Args:
        image: as `open_image` returns it.
        size: side length of the result in pixels.
        channels: one or three.
        crop: side length of the central square in pixels; None takes the largest that fits.
    """
    image = to_channels(image, channels)
    side = crop or min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if box != (0, 0, *image.size):
        image = image.crop(box)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels.reshape(size, size, channels).transpose(2, 0, 1))


def _check_kind(image: Image.Image) -> None:
    """Refuse images that would need too much memory, or would lose precision silently."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise BrokenImage(f"{image.width} x {image.height} pixels; at most {limit:,} are decoded")
    if image.mode.startswith(("I", "F")) or any(_is_deep(tile) for tile in image.tile):  # type: ignore[attr-defined]
        raise BrokenImage(f"more than 8 bits a channel, mode {image.mode}; convert it to 8 bits")
    if image.mode not in _MODES:
        raise BrokenImage(f"colours of the unknown mode {image.mode}; convert it to RGB")


def _is_deep(tile: Any) -> bool:
    """Whether a part of an image has more than 8 bits a channel, by the raw format in its decoder's arguments."""
    arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    if tile[0] in ("ppm", "ppm_plain"):
        return arguments[1] > 255  # the largest value
    return any(isinstance(argument, str) and ";16" in argument for argument in arguments)
