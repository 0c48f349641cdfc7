"""MIDRE (Tran et al., TMLR 2025): training images with a random square erased, so that no image is ever learnt as a whole."""

from typing import Literal, final

import torch
from torch import Tensor

from trapmid.augment import Augment
from trapmid.config import ShareRange
from trapmid.defenses.defense import Modifier
from trapmid.types import Images


@final
class MIDRE(Modifier):
    """`midre`: every training image loses a random square to the mean colour, anew each time it is shown.

    Assumed, as the paper is told from memory: every image is erased, after the augmentation; the square's area is uniform
    between the bounds, its place uniform within the image; the fill is the training images' mean colour (the paper's is
    ImageNet's).

    Attributes:
        area: smallest and largest erased share of the image.
    """

    title = "MIDRE"
    paper = "MIDRE (Tran et al., TMLR 2025)"
    kind: Literal["midre"] = "midre"
    area: ShareRange = (0.1, 0.4)

    def augment(self, augment: Augment, mean: tuple[float, ...]) -> Augment:
        """The augmentation, then the erasing."""
        return lambda images: erase(augment(images), self.area, mean)


def erase(images: Images, area: tuple[float, float], fill: tuple[float, ...]) -> Images:
    """`images` (n, c, h, w) with a square of each, of a random share of its area, set to `fill` (one value a channel).

    Draws come from torch's global generator.
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
