"""Images of noise, and files of them."""

from io import BytesIO

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (20, 20), mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
