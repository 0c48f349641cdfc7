"""Layers that conditional generators share."""

import torch
from torch import Tensor, nn

from trapmid.types import Labels


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift depend on the label.

    Scale starts at 1, shift at 0 (PLG-MI, Yuan et al., AAAI 2023).
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = nn.Embedding(num_classes, channels), nn.Embedding(num_classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Labels) -> Tensor:
        """Maps (n, channels, h, w), normalised, then scaled and shifted according to the label of each image."""
        scale, shift = self.scale(labels)[:, :, None, None], self.shift(labels)[:, :, None, None]
        return torch.addcmul(shift, self.norm(x), scale)
