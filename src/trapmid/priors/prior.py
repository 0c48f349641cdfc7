"""The interface of a prior: a generator in which attacks search, and the config that trains and opens it."""

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
        num_classes: number of labels. Unconditional priors accept any label and ignore it.
        device: the device of the computation.
        rows: its training log.
        notes: facts about its training for the manifest.
    """

    generator: nn.Module
    latent_size: int
    num_classes: int
    device: torch.device
    rows: list[dict[str, float]]
    notes: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Images (n, c, h, w), differentiable with respect to `latents` (n, latent_size).

        Latents are normally distributed.
        """

    @abstractmethod
    def save(self, folder: Path) -> list[str]:
        """Write all weights to `folder`, and return the file names."""

    @torch.no_grad()
    def sample(self, labels: Labels, rng: torch.Generator, batch: int = 256) -> Images:
        """Random images on the CPU, clipped to [0, 1], one for each label (n,)."""
        latents = torch.randn(len(labels), self.latent_size, generator=rng)
        pairs = zip(latents.split(batch), labels.split(batch), strict=True)
        return torch.cat(
            [self.decode(z.to(self.device), y.to(self.device)).float().clamp(0, 1).cpu() for z, y in pairs]
        )


class StylePrior(Prior):
    """A prior that maps latents to styles. Attacks search for styles instead of latents.

    Attributes:
        style_size: length of a style.
        blocks: number of blocks of the synthesis network. Features are available after each block. Each block takes two
            styles.
        generator: the network behind `map` and `synthesise`.
    """

    style_size: int
    blocks: int

    @abstractmethod
    def map(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        """Styles (n, style_size) of latents (n, latent_size).

        A `truncation` below 1 moves them towards the mean style.
        """

    @abstractmethod
    def synthesise(self, styles: Tensor) -> Images:
        """Images (n, c, h, w), differentiable in `styles`: (n, style_size) or (n, 2 * blocks, style_size)."""

    @abstractmethod
    def features_at(self, styles: Tensor, blocks: int, start: Features | None = None) -> Features:
        """The features after the first `blocks` blocks, computed from the beginning or from `start`."""

    @abstractmethod
    def from_features(self, features: Features, styles: Tensor) -> Images:
        """Images (n, c, h, w) after the remaining blocks, differentiable with respect to `features` and `styles`."""

    @final
    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Map latents to styles and synthesise images. Labels are ignored."""
        del labels
        return self.synthesise(self.map(latents))


@dataclass(frozen=True, eq=False)
class PriorTraining:
    """The inputs of the training of a prior, apart from its config.

    Attributes:
        public: public images. Their identities are not used.
        num_classes: number of labels. An unconditional prior only stores it.
        seed: seed of weights, latents and batches.
        compute: device and precision.
        folder: the folder for checkpoint and log, from which an interrupted training is resumed.
        progress: called with the progress of the training.
        name: name of the training for progress. It is also part of the purpose of the random stream.
        also: further state for the checkpoint, such as the number of queries to the target.
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
        """Train the prior without a target."""

    @abstractmethod
    def open(self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute) -> Prior:
        """Open the prior that `Prior.save` wrote to `folder`. `image_shape` is (channels, height, width)."""
