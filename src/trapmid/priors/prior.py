"""The contract of a prior: a generator that attacks search, and the config that trains and opens it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from trapmid.config import Member
from trapmid.data.images import ImageSet
from trapmid.engine import Compute, Progress, no_progress
from trapmid.priors.style_networks import Features
from trapmid.types import Images, Labels, Stateful


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
        """Random images, one for each label (n,), on the CPU, clipped to [0, 1]."""
        latents = torch.randn(len(labels), self.latent_size, generator=rng)
        pairs = zip(latents.split(batch), labels.split(batch), strict=True)
        return torch.cat(
            [self.decode(z.to(self.device), y.to(self.device)).float().clamp(0, 1).cpu() for z, y in pairs]
        )


class StylePrior(Prior):
    """A prior whose latents first become styles, which attacks search instead.

    Attributes:
        style_size: length of a style.
        blocks: of the synthesis network; its features after each can be had. Each block takes two styles.
        generator: `map` and `synthesise`.
    """

    style_size: int
    blocks: int

    @abstractmethod
    def map(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        """Styles (n, style_size) of latents (n, latent_size).

        `truncation` below 1 pulls them towards the mean style.
        """

    @abstractmethod
    def synthesise(self, styles: Tensor) -> Images:
        """Images (n, c, h, w), differentiable in `styles`: (n, style_size) or (n, 2 * blocks, style_size)."""

    @abstractmethod
    def features_at(self, styles: Tensor, blocks: int, start: Features | None = None) -> Features:
        """What synthesis has come to after that many blocks, from the beginning or from `start`."""

    @abstractmethod
    def from_features(self, features: Features, styles: Tensor) -> Images:
        """Images (n, c, h, w) that the remaining blocks make of `features`; differentiable with respect to both."""

    @final
    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Map and synthesise; labels are ignored."""
        del labels
        return self.synthesise(self.map(latents))


@dataclass(frozen=True, eq=False)
class PriorTraining:
    """What a prior is trained with, beside its config.

    Attributes:
        public: images; their identities are not used.
        num_classes: labels there are; a prior that knows no labels keeps the number.
        seed: of weights, latents, batches.
        compute: device and precision.
        folder: for checkpoint and log; a killed training resumes from there.
        progress: called with how far the training is.
        name: shown in progress; part of the random stream's purpose.
        also: what else a checkpoint has to hold, such as the target's count of queries.
    """

    public: ImageSet
    num_classes: int
    seed: int
    compute: Compute
    folder: Path | None = None
    progress: Progress = no_progress
    name: str = "prior"
    also: Mapping[str, Stateful] = field(default_factory=dict)


class PriorConfig(Member, ABC):
    """A way of training a prior on public images."""

    @abstractmethod
    def fit(self, setting: PriorTraining) -> Prior:
        """Train without any target."""

    @abstractmethod
    def open(self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute) -> Prior:
        """The prior whose weights `Prior.save` wrote into `folder`; `image_shape` is (channels, height, width)."""
