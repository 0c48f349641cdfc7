"""MIDRE (Tran et al., TMLR 2025): training images lose a random square, so that none is learnt as a whole."""

from typing import Literal, final

import torch
from torch import Tensor

from trapmid.augment import Augment
from trapmid.config import Deviation, ShareRange
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense
from trapmid.types import Images

IMAGENET_MEAN = (0.485, 0.456, 0.406)


@final
class MIDRE(Defense):
    """`midre`: each time a training image is shown, a random square of it is filled with one colour.

    Every image is erased, after the augmentation. The area of the square is uniform between the bounds, its place
    uniform within the image.

    Attributes:
        area: smallest and largest share of the image that is erased. The README of the authors' code has 0.4 for the
            largest, too.
        fill: the colour: ImageNet's mean, as in the authors' code, or the mean of the `training` images. Grey images
            get the mean over the channels.
    """

    title = "MIDRE"
    paper = "MIDRE (Tran et al., TMLR 2025)"
    deviations = (
        Deviation(
            "range of the fill colour",
            "set after the normalisation of the network in question",
            "set in images from 0 to 1",
            "normalisation is inside of our networks",
        ),
    )
    kind: Literal["midre"] = "midre"
    area: ShareRange = (0.1, 0.8)
    fill: Literal["imagenet", "training"] = "imagenet"

    def changes(self) -> Changes:
        """Another augmentation."""
        return Changes(augment=self.erasing)

    def erasing(self, augment: Augment, context: TrainingContext) -> Augment:
        """The given augmentation, then the erasing."""
        fill = context.images.mean
        if self.fill == "imagenet":
            grey = sum(IMAGENET_MEAN) / len(IMAGENET_MEAN)
            fill = IMAGENET_MEAN if context.images.shape[0] == len(IMAGENET_MEAN) else (grey,)
        return lambda images: erase(augment(images), self.area, fill)


def erase(images: Images, area: tuple[float, float], fill: tuple[float, ...]) -> Images:
    """Set a square of each image, of a random share of its area, to `fill`.

    The squares are drawn from torch's global generator.

    Args:
        images: (n, c, h, w).
        area: smallest and largest share of the image.
        fill: one value per channel.
    """
    n, _, height, width = images.shape
    device = images.device
    share = area[0] + (area[1] - area[0]) * torch.rand(n, device=device)
    side = (share * height * width).sqrt()

    def within(length: int) -> Tensor:
        """A mask (n, length) of the pixels along one side that are in the square."""
        extent = side.clamp(max=length).round()
        first = (torch.rand(n, device=device) * (length - extent + 1)).floor()
        at = torch.arange(length, device=device)
        return (at >= first[:, None]) & (at < (first + extent)[:, None])

    erased = within(height)[:, None, :, None] & within(width)[:, None, None, :]
    return torch.where(erased, torch.tensor(fill, device=device, dtype=images.dtype)[:, None, None], images)
