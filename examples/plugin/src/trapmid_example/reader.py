"""A reader: images and names in one NumPy file."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from trapmid.data import Record, StoredSource
from trapmid.types import UserError


class NpzSource(StoredSource):
    """`npz`: a .npz file with the arrays `images` (n, height, width, 3), uint8, and `names` (n,), text."""

    kind: Literal["npz"] = "npz"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Every file whose name ends in .npz."""
        return path.suffix == ".npz"

    @property
    def names_identities(self) -> bool:
        """Yes: `names`."""
        return True

    def records(self) -> tuple[int, Iterator[Record]]:
        """Every image with its name, in the order of the file."""
        with np.load(self.path, allow_pickle=False) as arrays:
            if not {"images", "names"} <= set(arrays):
                raise UserError(f"{self.path} has the arrays {', '.join(arrays)}; expected `images` and `names`.")
            images, names = arrays["images"], arrays["names"]
        return len(images), (
            Record(str(name), f"image {row}", _png(image))
            for row, (image, name) in enumerate(zip(images, names, strict=True))
        )


def _png(image: np.ndarray) -> bytes:
    encoded = BytesIO()
    Image.fromarray(image).save(encoded, format="PNG")
    return encoded.getvalue()
