"""The gallery: what belongs together as one strip of thumbnails, so that a thousand identities are thousands of images less."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from trapmid.report.contents import GalleryRow, Picture, Reconstruction

THUMBNAIL = 128
"""Pixels of a thumbnail's longer side at most: twice what it is shown at."""

GAP = 16
"""A thumbnail is so many times as wide as the gap behind it."""

QUALITY = 80


@dataclass(frozen=True)
class Strip:
    """Pictures of one kind and one identity, side by side in one image.

    Attributes:
        title: of the kind.
        note: how many were recognised; empty where no judge was asked.
        alt: what is to be seen, in words.
        source: the image as a data address.
        count: pictures in it.
        hits: places, from 0, of those that the judge recognised.
    """

    title: str
    note: str
    alt: str
    source: str
    count: int
    hits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Person:
    """One identity and its strips."""

    name: str
    strips: tuple[Strip, ...]


def person(row: GalleryRow, number: int, subject: str, *, redact: bool) -> Person:
    """The identity as the page shows it; redacted without its private pictures and its name."""
    name = f"Identity {number}" if redact else row.identity
    strips = [_found(title, found, name, subject) for title, found in row.columns.items() if found]
    if row.private and not redact:
        count = len(row.private)
        alt = f"{count} private {subject}{'s' if count > 1 else ''} of {name}"
        strips.insert(0, Strip("Private", "", alt, webp(row.private), count))
    return Person(name, tuple(strips))


def _found(title: str, found: Sequence[Reconstruction], name: str, subject: str) -> Strip:
    asked = [one.recognised for one in found if one.recognised is not None]
    hits = tuple(place for place, one in enumerate(found) if one.recognised)
    alt = f"{title}: {len(found)} {subject}{'s' if len(found) > 1 else ''} reconstructed for {name}"
    if hits:
        numbers = ", ".join(str(place + 1) for place in hits)
        alt += f", recognised by the judge: number {numbers}" if len(found) > 1 else ", recognised by the judge"
    elif asked:
        alt += ", none recognised by the judge" if len(found) > 1 else ", not recognised by the judge"
    note = f"{len(hits)} of {len(asked)} recognised" if asked else ""
    return Strip(title, note, alt, webp([one.picture for one in found]), len(found), hits)


def webp(pictures: Sequence[Picture]) -> str:
    """The pictures, all of one size, as one WebP data address with see-through gaps; a function of the pixels alone."""
    thumbnails = []
    for picture in pictures:
        grey = picture.shape[-1] == 1
        image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture)).convert("RGB")
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        thumbnails.append(image)
    width, height = thumbnails[0].size
    gap = max(1, round(width / GAP))
    strip = Image.new("RGBA", (len(pictures) * (width + gap) - gap, height))
    for place, image in enumerate(thumbnails):
        strip.paste(image, (place * (width + gap), 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
