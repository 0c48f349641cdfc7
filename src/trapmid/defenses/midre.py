"""MIDRE (Tran et al., TMLR 2025): training images lose a random square, so that none is learnt as a whole."""

from typing import Literal, final

import torch
from torch import Tensor

from trapmid.augment import Augment
from trapmid.config import ShareRange
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense
from trapmid.types import Images


@final
class MIDRE(Defense):
    """`midre`: each time a training image is shown, a random square of it is filled with the mean colour.

    Every image is erased, after the augmentation. The area of the square is uniform between the bounds, its place
    uniform within the image. Two constants differ from the authors' code: its largest area is 0.8 (its README names 0.4
    as well), and it fills with the mean colour of ImageNet, where this fills with that of the training images.

    Attributes:
        area: smallest and largest share of the image that is erased.
    """

    title = "MIDRE"
    paper = "MIDRE (Tran et al., TMLR 2025)"
    kind: Literal["midre"] = "midre"
    area: ShareRange = (0.1, 0.4)

    def changes(self) -> Changes:
        """Another augmentation."""
        return Changes(augment=self.erasing)

    def erasing(self, augment: Augment, context: TrainingContext) -> Augment:
        """The given augmentation, then the erasing."""
        return lambda images: erase(augment(images), self.area, context.images.mean)


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
        """(n, length): which of the pixels along one side lie in the square."""
        extent = side.clamp(max=length).round()
        first = (torch.rand(n, device=device) * (length - extent + 1)).floor()
        at = torch.arange(length, device=device)
        return (at >= first[:, None]) & (at < (first + extent)[:, None])

    erased = within(height)[:, None, :, None] & within(width)[:, None, None, :]
    return torch.where(erased, torch.tensor(fill, device=device, dtype=images.dtype)[:, None, None], images)
