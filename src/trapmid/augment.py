"""Random changes of images in training and search, differentiable.

`KorniaAugmentation` is the published pipeline, transform after transform. `WarpAugmentation` composes crop, shift, flip
and rotation into one affine map and resamples once, which costs about a fifth of the time on a CPU and blurs once
instead of up to three times; it is what the CPU recipes use. `Degradation` blurs, compresses and adds noise,
and moves nothing.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from trapmid.config import Config, Degrees, Deviation, NonNegative, Probability, Share, ordered
from trapmid.types import Images

Augment = Callable[[Tensor], Tensor]

_Ordered = AfterValidator(ordered)
_Area = Annotated[float, Field(ge=0.01, le=1)]
_Ratio = Annotated[float, Field(ge=0.1, le=10)]
_Quality = Annotated[float, Field(ge=1, le=100)]
CropArea: TypeAlias = Annotated[tuple[_Area, _Area], _Ordered]
CropRatio: TypeAlias = Annotated[tuple[_Ratio, _Ratio], _Ordered]
JPEGQuality: TypeAlias = Annotated[tuple[_Quality, _Quality], _Ordered]


class Augmentation(Config, ABC):
    """A distribution of image changes, drawn from torch's global generator, which `engine.randomness` governs."""

    @abstractmethod
    def build(self, image_size: int) -> Augment:
        """A function from images (n, c, h, w) in [0, 1] to changed images of the same shape."""


def flipped(images: Images, share: float) -> Images:
    """Mirror each image with probability `share`. At 0, nothing is drawn."""
    if share == 0:
        return images
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < share
    return torch.where(mirrored, images.flip(3), images)


class NoAugmentation(Augmentation):
    """Images as they are."""

    kind: Literal["none"] = "none"

    def build(self, image_size: int) -> Augment:
        """The identity."""
        del image_size
        return _unchanged


def _unchanged(images: Images) -> Images:
    return images


class KorniaAugmentation(Augmentation):
    """The paper's T: crop to an area of 0.8 to 1, flip, rotate by up to 30 degrees, each with p = 0.5 (App. C.4).

    With jitter and other values it is the augmentation of PLG-MI's search (Yuan et al., AAAI 2023). kornia draws
    whether to jitter, to flip and to rotate for each image, but whether to crop once for the whole batch; each image
    of a cropped batch then has a window of its own. Numbers of the authors, such as their Figure 6 over
    `crop_probability`, come from that coin.

    Attributes:
        crop_area: lowest and highest share of the area that a crop keeps.
        crop_ratio: lowest and highest ratio of width to height of the part that is kept.
        crop_probability: of the crop of a whole batch.
        brightness: factor drawn from 1 - b to 1 + b.
        contrast: factor about the mean of the grey image, drawn likewise.
        jitter_probability: of both, for each image.
        flip_probability: for each image.
        rotation_degrees: largest angle.
        rotation_probability: for each image.
        one_draw: draw once for the whole batch, in place of once for each image.
    """

    paper = "Trap-MID, Sec. 3.3 and App. C.4"
    kind: Literal["kornia"] = "kornia"
    crop_area: CropArea = (0.8, 1.0)
    crop_ratio: CropRatio = (1.0, 1.0)
    crop_probability: Probability = 0.5
    brightness: Share = 0.0
    contrast: Share = 0.0
    jitter_probability: Probability = 0.0
    flip_probability: Probability = 0.5
    rotation_degrees: Degrees = 30.0
    rotation_probability: Probability = 0.5
    one_draw: bool = False

    def build(self, image_size: int) -> Augment:
        """A kornia `ImageSequential`."""
        from kornia import augmentation as K

        size, same = (image_size, image_size), self.one_draw
        crop = K.RandomResizedCrop(
            size, scale=self.crop_area, ratio=self.crop_ratio, same_on_batch=same, p=self.crop_probability
        )
        jitter = K.ColorJitter(self.brightness, self.contrast, same_on_batch=same, p=self.jitter_probability)
        flip = K.RandomHorizontalFlip(same_on_batch=same, p=self.flip_probability)
        rotation = K.RandomRotation(self.rotation_degrees, same_on_batch=same, p=self.rotation_probability)
        return K.ImageSequential(crop, *([jitter] if self.jitter_probability > 0 else []), flip, rotation)


class WarpAugmentation(Augmentation):
    """The same family of changes as one affine resampling, plus shift, brightness and contrast, each drawn per image.

    The published crop is drawn for a whole batch (`KorniaAugmentation`); this one for each image.

    Attributes:
        crop_area: lowest and highest share of the area that a crop keeps.
        shift: largest shift as a share of half the image, on top of the crop's.
        brightness: factor drawn from 1 - b to 1 + b.
        contrast: factor about the image's mean, drawn likewise.
        padding: what lies outside the image: `zeros`, as published, or its `reflection`.
    """

    kind: Literal["warp"] = "warp"
    crop_area: CropArea = (0.8, 1.0)
    crop_probability: Probability = 0.5
    shift: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    jitter_probability: Probability = 0.0
    flip_probability: Probability = 0.5
    rotation_degrees: Degrees = 30.0
    rotation_probability: Probability = 0.5
    padding: Literal["zeros", "reflection"] = "zeros"

    def build(self, image_size: int) -> Augment:
        """`apply`, for images of any size."""
        del image_size
        return self.apply

    def apply(self, images: Images) -> Images:
        """Change every image by its own draw."""
        n, device = len(images), images.device
        maps = affine_maps(
            zoom=self._zoom(n, device),
            shift=self.shift * (2 * torch.rand(n, 2, device=device) - 1),
            corner=2 * torch.rand(n, 2, device=device) - 1,
            flip=torch.rand(n, device=device) < self.flip_probability,
            radians=math.radians(self.rotation_degrees)
            * (2 * torch.rand(n, device=device) - 1)
            * (torch.rand(n, device=device) < self.rotation_probability),
        )
        changed = warp(images, maps, self.padding)
        if self.jitter_probability == 0:
            return changed
        on = torch.rand(n, 1, 1, 1, device=device) < self.jitter_probability
        changed = changed * (1 + on * self.brightness * (2 * torch.rand(n, 1, 1, 1, device=device) - 1))
        mean = changed.mean((1, 2, 3), keepdim=True)
        return (
            (changed - mean) * (1 + on * self.contrast * (2 * torch.rand(n, 1, 1, 1, device=device) - 1)) + mean
        ).clamp(0, 1)

    def _zoom(self, n: int, device: torch.device) -> Tensor:
        low, high = self.crop_area
        side = (low + (high - low) * torch.rand(n, device=device)).sqrt()
        return torch.where(torch.rand(n, device=device) < self.crop_probability, side, torch.ones_like(side))


class Degradation(Augmentation):
    """What a picture suffers on its way, in this order: Gaussian blur, JPEG, Gaussian noise. All let gradients through.

    Attributes:
        blur: largest standard deviation in pixels; each image draws its own from 0 to this.
        jpeg_quality: lowest and highest quality, 0 to 100; each image draws its own. None leaves JPEG out.
        noise: standard deviation of the noise, in units of [0, 1].
    """

    paper = "Reich et al., WACV 2024 (differentiable JPEG, kornia's); Cohen et al., ICML 2019 (noise)"
    deviations = (
        Deviation(
            "crop",
            "one coin for a batch (kornia)",
            "one for each image",
            "this augmentation is ours, for processors without a GPU",
        ),
        Deviation(
            "resampling",
            "up to three times",
            "once",
            "a fifth of the time and less blur",
        ),
    )
    kind: Literal["degrade"] = "degrade"
    blur: Annotated[float, Field(ge=0, le=100)] = 1.0
    jpeg_quality: JPEGQuality | None = (50.0, 95.0)
    noise: NonNegative = 0.05

    def build(self, image_size: int) -> Augment:
        """`apply`, for images of any size."""
        del image_size
        return self.apply

    def apply(self, images: Images) -> Images:
        """Degrade every image by its own draw."""
        if self.blur > 0:
            images = self._blurred(images)
        if self.jpeg_quality is not None:
            images = self._compressed(images, self.jpeg_quality)
        return (images + self.noise * torch.randn_like(images)).clamp(0, 1)

    def _blurred(self, images: Images) -> Images:
        from kornia.filters import gaussian_blur2d

        sharp = 0.05  # pixels, below which the kernel is one point
        sigma = (self.blur * torch.rand(len(images), 1, device=images.device)).clamp_min(sharp).expand(-1, 2)
        side = 2 * math.ceil(2 * self.blur) + 1
        return gaussian_blur2d(images, (side, side), sigma, border_type="replicate")

    def _compressed(self, images: Images, quality: tuple[float, float]) -> Images:
        from kornia.enhance import jpeg_codec_differentiable

        low, high = quality
        drawn = low + (high - low) * torch.rand(len(images), device=images.device)
        colours = jpeg_codec_differentiable(images.expand(-1, 3, -1, -1), drawn)
        return colours if images.shape[1] == 3 else colours.mean(1, keepdim=True)


class RangeNoise(Augmentation):
    """Gaussian noise in units of the range of all pixels of a batch; results are not clipped (AlignMI, NeurIPS 2025).

    Attributes:
        share: standard deviation, as a share of the difference between the largest and the smallest pixel.
    """

    paper = "AlignMI (NeurIPS 2025), authors' code"
    kind: Literal["range-noise"] = "range-noise"
    share: NonNegative = 0.06

    def build(self, image_size: int) -> Augment:
        """`apply`, for images of any size."""
        del image_size
        return self.apply

    def apply(self, images: Images) -> Images:
        """Add noise to every pixel. Gradients pass through the images alone, not through their range."""
        extent = (images.max() - images.min()).detach()
        return images + self.share * extent * torch.randn_like(images)


def affine_maps(*, zoom: Tensor, shift: Tensor, corner: Tensor, flip: Tensor, radians: Tensor) -> Tensor:
    """Maps from output to input coordinates in [-1, 1]: crop of side `zoom` at `corner`, then flip, then rotation.

    Args:
        zoom: (n,), side of the crop as a share of the image.
        shift: (n, 2), further shift.
        corner: (n, 2) in [-1, 1], where the crop lies within the image; 0 is the centre.
        flip: (n,), bool.
        radians: (n,), counter-clockwise.

    Returns:
        (n, 2, 3), as `torch.nn.functional.affine_grid` takes it.
    """
    cosine, sine = radians.cos() * zoom, radians.sin() * zoom
    sign = torch.where(flip, -1.0, 1.0)
    offset = corner * (1 - zoom)[:, None] + shift
    rows = torch.stack([cosine * sign, -sine * sign, offset[:, 0]], 1), torch.stack([sine, cosine, offset[:, 1]], 1)
    return torch.stack(rows, 1)


def warp(images: Images, maps: Tensor, padding: Literal["zeros", "reflection"] = "zeros") -> Images:
    """Resample every image once, bilinearly, by its own affine map (n, 2, 3)."""
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


AnyAugmentation = Annotated[
    NoAugmentation | KorniaAugmentation | WarpAugmentation | Degradation | RangeNoise, Field(discriminator="kind")
]
AUGMENTATIONS: tuple[type[Augmentation], ...] = (
    NoAugmentation,
    KorniaAugmentation,
    WarpAugmentation,
    Degradation,
    RangeNoise,
)
