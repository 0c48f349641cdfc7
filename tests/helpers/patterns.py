"""Images that are no faces: striped squares, of which each class has a colour and a direction of its own."""

import torch

from trapmid.data import ImageSet
from trapmid.data.images import to_pixels
from trapmid.engine import generator


def patterns(classes: int, each: int, size: int = 32, first: int = 0) -> ImageSet:
    """Images (classes * each, 3, size, size) with random phases and noise. Classes are numbered from `first`."""
    draw = generator(first, "patterns")
    labels = torch.arange(classes).repeat_interleave(each)
    colours = torch.rand(classes, 3, 1, 1, generator=draw)
    angles = (first + torch.arange(classes)) * torch.pi / classes
    rows, columns = torch.meshgrid(torch.linspace(0, 12, size), torch.linspace(0, 12, size), indexing="ij")
    along = angles.cos().view(-1, 1, 1) * rows + angles.sin().view(-1, 1, 1) * columns
    phases = 6 * torch.rand(len(labels), 1, 1, generator=draw)
    stripes = (along[labels] + phases).sin()[:, None]
    noise = 0.05 * torch.randn(len(labels), 3, size, size, generator=draw)
    return ImageSet(
        to_pixels((colours[labels] * (0.75 + 0.25 * stripes) + noise).clamp(0, 1)),
        labels,
        tuple(f"pattern-{first + number:03d}" for number in range(classes)),
        tuple(f"{number}.png" for number in range(len(labels))),
    )
