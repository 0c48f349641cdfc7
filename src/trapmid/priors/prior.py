"""What a prior is: a generator of believable images that an attack searches."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from trapmid.types import Images, Labels


class Prior(ABC):
    """A generator from latents and identity labels to images in [0, 1].

    Attributes:
        latent_size: length of a latent.
        num_classes: number of labels it is conditional on.
        device: where it computes.
    """

    latent_size: int
    num_classes: int
    device: torch.device

    @abstractmethod
    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Images (n, c, h, w), differentiable with respect to `latents` (n, latent_size), normally distributed."""

    @torch.no_grad()
    def sample(self, labels: Labels, rng: torch.Generator, batch: int = 256) -> Images:
        """Random images, one for each label (n,), on the CPU, clipped to [0, 1]: what the prior knows without any search."""
        latents = torch.randn(len(labels), self.latent_size, generator=rng)
        pairs = zip(latents.split(batch), labels.split(batch), strict=True)
        return torch.cat(
            [self.decode(z.to(self.device), y.to(self.device)).float().clamp(0, 1).cpu() for z, y in pairs]
        )
