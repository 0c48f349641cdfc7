"""The common parts of all GANs: constants, the training loop and the trained pair of networks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trapmid.config import BatchSize, BelowOne, Count, Member, Rate, Width
from trapmid.engine import Compute
from trapmid.models.batchnorm import recalibrate_batch_norm
from trapmid.priors.fitting import Losses, PriorFit, descend
from trapmid.priors.prior import Prior, PriorTraining
from trapmid.reading import load_weights
from trapmid.types import Images, Labels, Stateful

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"


@final
class GAN(Prior):
    """A trained pair of a generator and a discriminator.

    Attacks search in the generator. The discriminator can be used in the search or in a later training. All generators
    take latents and labels. Unconditional ones ignore the labels.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent_size: int,
        num_classes: int,
        rows: list[dict[str, float]],
    ) -> None:
        self.generator, self.discriminator, self.rows = generator, discriminator, rows
        self.latent_size, self.num_classes = latent_size, num_classes
        self.device = next(generator.parameters()).device

    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Generate images with the generator in eval mode."""
        return self.generator.eval()(latents, labels)

    def freeze(self) -> "GAN":
        """Set both networks to eval mode, without gradients of their weights. A search changes only latents.

        Returns itself.
        """
        for module in (self.generator, self.discriminator):
            module.eval().requires_grad_(False)
        return self

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both networks, by the names that they have in checkpoints."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def save(self, folder: Path) -> list[str]:
        """Write both networks to `folder`, and return the file names."""
        return [
            save_network(self.generator, folder / GENERATOR),
            save_network(self.discriminator, folder / DISCRIMINATOR),
        ]

    def load(self, folder: Path) -> "GAN":
        """Load the weights that `save` wrote into both networks. Returns itself."""
        for file, module in ((GENERATOR, self.generator), (DISCRIMINATOR, self.discriminator)):
            load_weights(module, folder / file)
        return self


@final
class LoneGenerator(Prior):
    """A generator without its discriminator, for samples and for searches that need no discriminator."""

    def __init__(self, generator: nn.Module, latent_size: int, num_classes: int, device: torch.device) -> None:
        self.generator, self.latent_size, self.num_classes, self.device = generator, latent_size, num_classes, device
        self.rows: list[dict[str, float]] = []

    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Generate images with the generator in eval mode."""
        return self.generator.eval()(latents, labels)

    def save(self, folder: Path) -> list[str]:
        """Write the generator to `folder`, and return the file name."""
        return [save_network(self.generator, folder / GENERATOR)]


class Pair(NamedTuple):
    """Networks with random weights, on the CPU.

    Attributes:
        generator: the generator, from latents and labels to images.
        discriminator: the discriminator of images.
        latent_size: length of a latent.
    """

    generator: nn.Module
    discriminator: nn.Module
    latent_size: Width


class GANConfig(Member, ABC):
    """The constants that all GANs have. Subclasses set those without a default to the values in their paper.

    A GAN that can be trained without a target is also a `PriorConfig`.

    Attributes:
        iterations: number of generator steps.
        batch_size: number of images in a step.
        discriminator_steps: number of discriminator steps per generator step.
        rate: learning rate of Adam for both networks.
        betas: betas of Adam.
        ema: decay of the moving average of generator weights that is used after training; None for no average, as
            published.
        log_every: number of iterations between two rows of the log.
    """

    iterations: Count
    batch_size: BatchSize = 64
    discriminator_steps: Count = 5
    rate: Rate = 2e-4
    betas: tuple[BelowOne, BelowOne]
    ema: BelowOne | None = None
    log_every: Count = 100

    @abstractmethod
    def pair(self, num_classes: int, image_size: int, channels: int) -> Pair:
        """Both networks, with the shapes of this config."""

    @final
    def build(self, num_classes: int, image_size: int, channels: int, compute: Compute) -> GAN:
        """The pair with random weights on the device of `compute`."""
        generator, discriminator, latent_size = self.pair(num_classes, image_size, channels)
        return GAN(compute.place(generator), compute.place(discriminator), latent_size, num_classes, [])

    def open(self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute) -> GAN:
        """Load the pair that `GAN.save` wrote to `folder`. `image_shape` is (channels, height, width)."""
        channels, size, _ = image_shape
        return self.build(num_classes, size, channels, compute).load(folder)

    @final
    def open_generator(
        self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute
    ) -> LoneGenerator:
        """Load the generator that `save_network` wrote to `folder`. `image_shape` is (channels, height, width)."""
        channels, size, _ = image_shape
        generator, _, latent_size = self.pair(num_classes, size, channels)
        load_weights(generator, folder / GENERATOR)
        placed = compute.place(generator).eval().requires_grad_(False)
        return LoneGenerator(placed, latent_size, num_classes, compute.torch_device)


class Fit(PriorFit[GAN]):
    """The training of a pair. Each iteration has one generator step, then `discriminator_steps` discriminator steps.

    Attributes:
        number: number of the current iteration, counted from 0.
    """

    config: GANConfig
    number: int = 0

    def __init__(self, config: GANConfig, setting: PriorTraining) -> None:
        super().__init__(config, setting)
        public = setting.public
        with self.randomness("weights"):
            self.gan = config.build(setting.num_classes, public.image_size, public.channels, setting.compute)
        self.generator, self.discriminator = self.gan.generator, self.gan.discriminator
        self.of_generator = torch.optim.Adam(self.generator.parameters(), config.rate, config.betas)
        self.of_discriminator = torch.optim.Adam(self.discriminator.parameters(), config.rate, config.betas)
        self.average: AveragedModel | None = None
        if config.ema is not None:
            self.average = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(config.ema))

    @abstractmethod
    def generator_losses(self) -> Losses:
        """The terms of the generator loss, which is their sum.

        The weights of the discriminator get no gradient here.
        """

    @abstractmethod
    def discriminator_losses(self) -> tuple[Losses, Losses]:
        """The terms of the discriminator loss, and further values for the log."""

    @final
    def state(self) -> Mapping[str, Stateful]:
        """Both networks with their optimizers, and the moving average if there is one."""
        state: dict[str, Stateful] = {
            **self.gan.networks,
            "of_generator": self.of_generator,
            "of_discriminator": self.of_discriminator,
        }
        if self.average is not None:
            state["average"] = _StateOfAverage(self.average)
        return state

    def trained(self, rows: list[dict[str, float]]) -> GAN:
        """The pair. If there is a moving average of weights, the generator gets these weights."""
        self.gan.rows = rows
        if self.average is not None:
            self.generator.load_state_dict(self.average.module.state_dict())
            with self.randomness("statistics"):
                recalibrate_batch_norm(self.generator, [(self.latents(), self.labels()) for _ in range(20)])
        return self.gan

    def step(self, number: int) -> Losses:
        """Run one iteration. `number` is counted from 0."""
        self.number = number
        self.generator.train()
        self.discriminator.train().requires_grad_(False)
        notes = dict(self.generator_losses())
        descend(_total(notes), self.of_generator, self.generator)
        if self.average is not None:
            self.average.update_parameters(self.generator)
        self.discriminator.requires_grad_(True)
        for _ in range(self.config.discriminator_steps):
            losses, more = self.discriminator_losses()
            descend(_total(losses), self.of_discriminator, self.discriminator)
            notes |= {**losses, **more}
        return notes

    def latents(self) -> Tensor:
        """Latents (n, latent_size)."""
        return self.normal(self.gan.latent_size)


def save_network(network: nn.Module, file: Path) -> str:
    """Write the weights of a network as safetensors, and return the file name."""
    save_file({name: value.contiguous().cpu() for name, value in network.state_dict().items()}, file)
    return file.name


class _StateOfAverage:
    """The averaged weights under the names of the generator, which is the format of all checkpoints."""

    def __init__(self, average: AveragedModel) -> None:
        self.average = average

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.average.module.state_dict(), "updates": self.average.n_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average.module.load_state_dict(state_dict["weights"])
        self.average.n_averaged.copy_(state_dict["updates"])


def _total(losses: Losses) -> Tensor:
    return torch.stack(list(losses.values())).sum()
