"""What a prior is: a generator of believable images that an attack searches, and the config that trains and opens one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from trapmid.config import Member
from trapmid.data.images import ImageSet
from trapmid.engine import Compute, Progress, no_progress
from trapmid.types import Images, Labels


class Prior(ABC):
    """A generator from latents and identity labels to images in [0, 1].

    Attributes:
        generator: the network behind `decode`.
        latent_size: length of a latent.
        num_classes: number of labels it is conditional on; a prior that knows no labels takes any and ignores them.
        device: where it computes.
        rows: its training log.
        notes: numbers about how it came to be that belong in a manifest.
    """

    generator: nn.Module
    latent_size: int
    num_classes: int
    device: torch.device
    rows: list[dict[str, float]]
    notes: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Images (n, c, h, w), differentiable with respect to `latents` (n, latent_size), normally distributed."""

    @abstractmethod
    def save(self, folder: Path) -> list[str]:
        """Write all weights into `folder`; returns the file names."""

    @torch.no_grad()
    def sample(self, labels: Labels, rng: torch.Generator, batch: int = 256) -> Images:
        """Random images, one for each label (n,), on the CPU, clipped to [0, 1]: what the prior knows without any search."""
        latents = torch.randn(len(labels), self.latent_size, generator=rng)
        pairs = zip(latents.split(batch), labels.split(batch), strict=True)
        return torch.cat(
            [self.decode(z.to(self.device), y.to(self.device)).float().clamp(0, 1).cpu() for z, y in pairs]
        )


class PriorConfig(Member, ABC):
    """A way of training a prior on public images."""

    @abstractmethod
    def fit(
        self,
        public: ImageSet,
        num_classes: int,
        *,
        seed: int,
        compute: Compute,
        folder: Path | None = None,
        progress: Progress = no_progress,
    ) -> Prior:
        """Train without any target; `folder` takes checkpoint and log, and a killed call resumes from there."""

    @abstractmethod
    def open(self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute) -> Prior:
        """The prior whose weights `Prior.save` wrote into `folder`; `image_shape` is (channels, height, width)."""
