"""What all pairs of a generator and a discriminator share: constants, the training loop, the trained pair."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trapmid.config import BatchSize, BelowOne, Count, Member, Rate, Width
from trapmid.engine import Compute, Loop, randomness
from trapmid.models.batchnorm import recalibrate_batch_norm
from trapmid.priors.prior import Prior, PriorTraining
from trapmid.reading import load_weights
from trapmid.types import Images, Labels, Stateful, UserError

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"


@final
class GAN(Prior):
    """A trained pair: the prior an attack searches, and the discriminator that a search or a later training can use.

    Generators take latents and labels, those that know no labels too.
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
        """The generator in eval mode."""
        return self.generator.eval()(latents, labels)

    def freeze(self) -> "GAN":
        """Both networks in eval mode and without gradients of their weights: a search moves latents only.

        Returns itself.
        """
        for module in (self.generator, self.discriminator):
            module.eval().requires_grad_(False)
        return self

    def save(self, folder: Path) -> list[str]:
        """Write both networks into `folder`; returns the file names."""
        return [
            save_network(self.generator, folder / GENERATOR),
            save_network(self.discriminator, folder / DISCRIMINATOR),
        ]

    def load(self, folder: Path) -> "GAN":
        """Fill both networks with what `save` wrote; returns itself."""
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
        """The generator in eval mode."""
        return self.generator.eval()(latents, labels)

    def save(self, folder: Path) -> list[str]:
        """Write the generator into `folder`; returns the file's name."""
        return [save_network(self.generator, folder / GENERATOR)]


class Pair(NamedTuple):
    """Networks with random weights, on the CPU.

    Attributes:
        generator: from latents and labels to images.
        discriminator: of images.
        latent_size: length of a latent.
    """

    generator: nn.Module
    discriminator: nn.Module
    latent_size: Width


class GANConfig(Member, ABC):
    """The constants that all pairs have; a member gives those without a default its paper's.

    One that can be trained without any target is a `PriorConfig` besides.

    Attributes:
        iterations: generator steps.
        batch_size: images a step.
        discriminator_steps: per generator step.
        rate: Adam's learning rate, of both.
        betas: Adam's.
        ema: decay of the average of generator weights that is used after training; None is published.
        log_every: iterations between two rows of the log.
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
        """Both networks, of this config's shapes."""

    @final
    def build(self, num_classes: int, image_size: int, channels: int, compute: Compute) -> GAN:
        """The pair with random weights, on the device."""
        generator, discriminator, latent_size = self.pair(num_classes, image_size, channels)
        return GAN(compute.place(generator), compute.place(discriminator), latent_size, num_classes, [])

    def open(self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute) -> GAN:
        """The pair whose weights `GAN.save` wrote into `folder`; `image_shape` is (channels, height, width)."""
        channels, size, _ = image_shape
        return self.build(num_classes, size, channels, compute).load(folder)

    @final
    def open_generator(
        self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute
    ) -> LoneGenerator:
        """The generator alone that `save_network` wrote into `folder`; `image_shape` is (channels, height, width)."""
        channels, size, _ = image_shape
        generator, _, latent_size = self.pair(num_classes, size, channels)
        load_weights(generator, folder / GENERATOR)
        placed = compute.place(generator).eval().requires_grad_(False)
        return LoneGenerator(placed, latent_size, num_classes, compute.torch_device)


Losses = Mapping[str, Tensor]


class Fit(ABC):
    """One training of a pair: a generator step, then `discriminator_steps` of the discriminator, over and over.

    Attributes:
        number: of the present iteration, counted from 0.
    """

    number: int = 0

    def __init__(self, config: GANConfig, setting: PriorTraining) -> None:
        self.config, self.setting, self.device = config, setting, setting.compute.torch_device
        public = setting.public
        self.pixels = public.pixels.to(self.device)
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
        """One term each; their sum is what the generator descends.

        The discriminator's weights take no gradient here.
        """

    @abstractmethod
    def discriminator_losses(self) -> tuple[Losses, Losses]:
        """The same for the discriminator, and what else is worth a column of the log."""

    def run(self) -> GAN:
        """Train, and put the averaged weights into the generator where there is an average."""
        setting = self.setting
        state: dict[str, Stateful] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "of_generator": self.of_generator,
            "of_discriminator": self.of_discriminator,
            **setting.also,
        }
        if self.average is not None:
            state["average"] = _StateOfAverage(self.average)
        loop = Loop(
            setting.name,
            self.config.iterations,
            setting.seed,
            setting.compute,
            state,
            setting.folder,
            self.config.log_every,
            progress=setting.progress,
        )
        self.gan.rows = loop.run(self.step)
        if self.average is not None:
            self.generator.load_state_dict(self.average.module.state_dict())
            with self.randomness("statistics"):
                recalibrate_batch_norm(self.generator, [(self.latents(), self.labels()) for _ in range(20)])
        return self.gan

    def step(self, number: int) -> Losses:
        """One iteration, counted from 0."""
        self.number = number
        self.generator.train()
        self.discriminator.train().requires_grad_(False)
        notes = dict(self.generator_losses())
        _descend(self.of_generator, notes)
        if self.average is not None:
            self.average.update_parameters(self.generator)
        self.discriminator.requires_grad_(True)
        for _ in range(self.config.discriminator_steps):
            losses, more = self.discriminator_losses()
            _descend(self.of_discriminator, losses)
            notes |= {**losses, **more}
        return notes

    def randomness(self, purpose: str) -> AbstractContextManager[None]:
        """`engine.randomness` of this training for one purpose."""
        return randomness(self.setting.seed, self.setting.name, purpose, device=self.device)

    def rows(self) -> Tensor:
        """A batch of row numbers of public images, drawn with replacement."""
        return torch.randint(len(self.pixels), (self.config.batch_size,), device=self.device)

    def labels(self) -> Labels:
        """A batch of labels."""
        return torch.randint(self.setting.num_classes, (self.config.batch_size,), device=self.device)

    def latents(self) -> Tensor:
        """A batch of latents."""
        return torch.randn(self.config.batch_size, self.gan.latent_size, device=self.device)


def save_network(network: nn.Module, file: Path) -> str:
    """Write a network's weights as safetensors; returns the file's name."""
    save_file({name: value.contiguous().cpu() for name, value in network.state_dict().items()}, file)
    return file.name


def begin_with(module: nn.Module, start: nn.Module) -> None:
    """Give `module` the weights of `start`, of a training before.

    Raises:
        UserError: they are networks of different shapes.
    """
    try:
        module.load_state_dict(start.state_dict())
    except RuntimeError as problem:
        raise UserError(
            f"The warm start has networks of other shapes than the prior it is to start: {problem}. Give both the "
            "same widths and latent_size."
        ) from problem


class _StateOfAverage:
    """The averaged weights under the generator's own names, as checkpoints have always held them."""

    def __init__(self, average: AveragedModel) -> None:
        self.average = average

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.average.module.state_dict(), "updates": self.average.n_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average.module.load_state_dict(state_dict["weights"])
        self.average.n_averaged.copy_(state_dict["updates"])


def _descend(optimizer: torch.optim.Optimizer, losses: Losses) -> None:
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
