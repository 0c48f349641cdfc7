"""Pictures arranged in rows and columns, as one image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from trapmid.report.contents import GalleryRow, Picture

GAP = 2
"""Pixels between pictures."""

COLUMNS = 10
"""Identities on a sheet, at most."""


def sheet(rows: Sequence[Sequence[Picture]]) -> Image.Image:
    """The pictures, all of one size, on white with gaps of `GAP` pixels. Rows may have different lengths."""
    height, width, _ = rows[0][0].shape
    across = max(map(len, rows))
    whole = np.full((len(rows) * (height + GAP) - GAP, across * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            top, left = r * (height + GAP), c * (width + GAP)
            whole[top : top + height, left : left + width] = picture
    return Image.fromarray(whole)


def gallery_sheet(gallery: Sequence[GalleryRow], *, redact: bool) -> Image.Image | None:
    """The first identities as columns: a private image on top, and below it one reconstruction for each defense.

    Args:
        gallery: the identities. The rows of the sheet follow the order of their columns.
        redact: leave out the row of private images.

    Returns:
        The sheet of at most `COLUMNS` identities; None if no identity has a picture in every row.
    """
    titles = list(dict.fromkeys(title for row in gallery for title in row.columns))
    people = [row for row in gallery if (redact or row.private) and all(row.columns.get(title) for title in titles)]
    people = people[:COLUMNS]
    if not people or not titles:
        return None
    private = [] if redact else [[row.private[0] for row in people if row.private]]
    return sheet([*private, *([row.columns[title][0].picture for row in people] for title in titles)])
