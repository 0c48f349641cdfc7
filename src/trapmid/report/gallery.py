"""The gallery: all pictures of one kind and one identity become one strip, which keeps large pages small."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from trapmid.report.contents import GalleryRow, Picture, Reconstruction

THUMBNAIL = 128
"""The longer side of a thumbnail in pixels, at most. This is twice the size at which the page shows it."""

GAP = 16
"""The width of a thumbnail, as a multiple of the gap that follows it."""

QUALITY = 80
"""WebP quality, from 0 to 100."""


@dataclass(frozen=True)
class Strip:
    """Pictures of one kind and one identity, side by side in one image.

    Attributes:
        title: of the kind.
        note: how many of them the judge recognised; empty if they were not judged.
        alt: a description for screen readers.
        source: the image as a data URL.
        count: pictures in it.
        hits: positions, from 0, of the pictures that the judge recognised.
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
    """One identity as the page shows it.

    Args:
        row: the identity and its pictures.
        number: its position in the gallery, from 1, which replaces its name if redacted.
        subject: what a picture shows, singular, for example "face".
        redact: leave out private pictures and the name.
    """
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
    """The pictures, all of one size, side by side as the data URL of one WebP image with transparent gaps.

    Equal pixels give equal text.
    """
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
