"""Images with their identities, decoded and held in memory as bytes. A colour image of 64 px takes 12 KiB."""

import hashlib
import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from trapmid.config import fingerprint
from trapmid.types import Images, Pixels


def to_unit(pixels: Pixels) -> Images:
    """Bytes 0..255 to floats in [0, 1]."""
    return pixels.float().div_(255.0)


def to_pixels(images: Images) -> Pixels:
    """Floats in [0, 1] to bytes 0..255, rounded and contiguous. Values outside of [0, 1] are clipped."""
    return images.clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8, memory_format=torch.contiguous_format)


def to_png(pixels: Tensor) -> bytes:
    """One image (c, h, w), uint8, with one or three channels, as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy()).save(stream, format="PNG")
    return stream.getvalue()


def from_png(png: bytes) -> Tensor:
    """The inverse of `to_png`."""
    image = Image.open(io.BytesIO(png), formats=("PNG",))
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, len(image.getbands())).permute(2, 0, 1).contiguous()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their identities.

    Attributes:
        pixels: (n, c, h, w), uint8.
        labels: (n,), int64, index into `identities`.
        identities: the name of each identity, sorted. An identity's position is its class number.
        origins: where each image is stored (a file, a row of a Parquet file), for messages and manifests.
    """

    pixels: Tensor
    labels: Tensor
    identities: tuple[str, ...]
    origins: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.pixels.dtype == torch.uint8
        assert self.pixels.ndim == 4
        assert len(self.pixels) == len(self.labels) == len(self.origins)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image_size(self) -> int:
        """Height and width in pixels; images are square."""
        return int(self.pixels.shape[-1])

    @property
    def channels(self) -> int:
        """One (grey) or three (colour)."""
        return int(self.pixels.shape[1])

    def digest(self) -> str:
        """Sixteen hex digits that depend on every pixel, label and name. Manifests refer to the images by them."""
        pixels = hashlib.blake2b(self.pixels.contiguous().numpy().data, digest_size=16).hexdigest()
        return fingerprint([pixels, self.labels.tolist(), list(self.identities)])

    def counts(self) -> Tensor:
        """(len(identities),): images per identity."""
        return torch.bincount(self.labels, minlength=len(self.identities))

    def subset(self, index: Tensor) -> "ImageSet":
        """The images at `index` (n, int64), in that order. Identities keep their numbers."""
        return ImageSet(
            self.pixels[index], self.labels[index], self.identities, tuple(self.origins[i] for i in index.tolist())
        )

    def images(self, index: Tensor | None = None) -> Images:
        """The images (all, or those at `index`) as floats in [0, 1]."""
        return to_unit(self.pixels if index is None else self.pixels[index])

    def of_identity(self, identity: int) -> Tensor:
        """Row numbers of the images of one identity."""
        return torch.nonzero(self.labels == identity).flatten()

    def with_most_images(self, identities: int) -> "ImageSet":
        """Only the `identities` identities with the most images (ties by name), renumbered in name order."""
        counts = self.counts()
        order = sorted(range(len(self.identities)), key=lambda i: (-int(counts[i]), self.identities[i]))
        kept = sorted(order[:identities])
        number = torch.full((len(self.identities),), -1, dtype=torch.int64)
        number[torch.tensor(kept, dtype=torch.int64)] = torch.arange(len(kept))
        rows = torch.nonzero(number[self.labels] >= 0).flatten()
        return ImageSet(
            self.pixels[rows],
            number[self.labels[rows]],
            tuple(self.identities[i] for i in kept),
            tuple(self.origins[i] for i in rows.tolist()),
        )
