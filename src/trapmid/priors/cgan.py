"""The conditional GAN prior: hinge losses, a projection discriminator, and room for an attack to guide the generator (reference 4.4)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trapmid.augment import AnyAugmentation, NoAugmentation
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Compute, Loop, Progress, no_progress, randomness
from trapmid.models.batchnorm import recalibrate_batch_norm
from trapmid.priors.prior import Prior, PriorConfig
from trapmid.priors.sn_resnet import SNResNet
from trapmid.priors.strided import Strided
from trapmid.types import Images, Labels, Stateful

Guidance = Callable[[Images, Labels], Tensor]
"""An extra generator loss: a scalar for generated images and the labels they were generated for."""

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"


class CGAN(PriorConfig):
    """`cgan`: PLG-MI's prior; the defaults are the published constants.

    Attributes:
        networks: the pair of networks.
        iterations: generator steps.
        batch_size: images a step.
        discriminator_steps: per generator step.
        rate: Adam's learning rate, of both.
        betas: Adam's.
        dequantise: add U(0, 1/256) to real images, as published.
        augmentation: of real and generated images before the discriminator (Zhao et al. 2020); `none` is published. It
            holds the discriminator back where a class has few images.
        ema: decay of the average of generator weights that is used after training; None is published.
        log_every: iterations between two rows of the log.
    """

    paper: ClassVar[str] = "PLG-MI (Yuan et al., AAAI 2023); Miyato & Koyama 2018"
    kind: Literal["cgan"] = "cgan"
    networks: Annotated[SNResNet | Strided, Field(discriminator="kind")] = SNResNet()
    iterations: int = Field(30_000, ge=1)
    batch_size: int = Field(64, ge=2)
    discriminator_steps: int = Field(5, ge=1)
    rate: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    dequantise: bool = True
    augmentation: AnyAugmentation = NoAugmentation()
    ema: float | None = None
    log_every: int = 100

    def fit(
        self,
        public: ImageSet,
        num_classes: int,
        *,
        pseudo_labels: Tensor | None = None,
        guidance: Guidance | None = None,
        start: "GAN | None" = None,
        also: Mapping[str, Stateful] | None = None,
        seed: int,
        compute: Compute,
        folder: Path | None = None,
        progress: Progress = no_progress,
        name: str = "prior",
    ) -> "GAN":
        """Train a pair of networks on public images.

        Args:
            public: images; their identities are not used.
            num_classes: labels the generator is conditional on.
            pseudo_labels: (num_classes, n), the rows of `public` that stand for each class; None draws images and labels
                independently, which trains a prior that knows no classes yet.
            guidance: an attack's term in the generator's loss.
            start: weights to begin with, of the same shapes.
            also: what else a checkpoint has to hold, such as the target's count of queries.
            seed: of weights, latents, batches.
            compute: device and precision.
            folder: for checkpoint and log.
            progress: who is told how far it is.
            name: shown in progress; part of the random stream's purpose.
        """
        return _Fit(
            self, public, num_classes, pseudo_labels, guidance, start, also or {}, seed, compute, folder, progress, name
        ).run()

    def build(self, num_classes: int, image_size: int, channels: int, compute: Compute) -> "GAN":
        """The pair with random weights, on the device."""
        generator, discriminator = self.networks.build(num_classes, image_size, channels)
        return GAN(compute.place(generator), compute.place(discriminator), self.networks.latent_size, num_classes, [])

    def open(self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute) -> "GAN":
        """See `PriorConfig.open`."""
        channels, size, _ = image_shape
        return self.build(num_classes, size, channels, compute).load(folder)


@final
class GAN(Prior):
    """A trained pair: the prior an attack searches, and the discriminator that a later training can start from."""

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

    def save(self, folder: Path) -> list[str]:
        """Write both networks into `folder`; returns the file names."""
        for file, module in ((GENERATOR, self.generator), (DISCRIMINATOR, self.discriminator)):
            save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, folder / file)
        return [GENERATOR, DISCRIMINATOR]

    def load(self, folder: Path) -> "GAN":
        """Fill both networks with what `save` wrote; returns itself."""
        for file, module in ((GENERATOR, self.generator), (DISCRIMINATOR, self.discriminator)):
            module.load_state_dict(load_file(folder / file))
        return self


class _Fit:
    def __init__(
        self,
        config: CGAN,
        public: ImageSet,
        num_classes: int,
        pseudo_labels: Tensor | None,
        guidance: Guidance | None,
        start: GAN | None,
        also: Mapping[str, Stateful],
        seed: int,
        compute: Compute,
        folder: Path | None,
        progress: Progress,
        name: str,
    ) -> None:
        self.config, self.num_classes, self.guidance, self.device = config, num_classes, guidance, compute.target
        self.seed = seed
        self.pixels = public.pixels.to(self.device)
        self.pseudo_labels = None if pseudo_labels is None else pseudo_labels.to(self.device)
        self.augment = config.augmentation.build(public.image_size)
        with randomness(seed, name, "weights", device=self.device):
            self.gan = config.build(num_classes, public.image_size, public.channels, compute)
        if start is not None:
            self.gan.generator.load_state_dict(start.generator.state_dict())
            self.gan.discriminator.load_state_dict(start.discriminator.state_dict())
        self.generator, self.discriminator = self.gan.generator, self.gan.discriminator
        self.of_generator = torch.optim.Adam(self.generator.parameters(), config.rate, config.betas)
        self.of_discriminator = torch.optim.Adam(self.discriminator.parameters(), config.rate, config.betas)
        state: dict[str, Stateful] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "of_generator": self.of_generator,
            "of_discriminator": self.of_discriminator,
            **also,
        }
        self.average: AveragedModel | None = None
        if config.ema is not None:
            self.average = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
            state["average"] = _StateOfAverage(self.average)
        self.loop = Loop(name, config.iterations, seed, compute, state, folder, config.log_every, progress=progress)

    def run(self) -> GAN:
        self.gan.rows = self.loop.run(self.step)
        if self.average is not None:
            self.generator.load_state_dict(self.average.module.state_dict())
            with randomness(self.seed, self.loop.name, "statistics", device=self.device):
                recalibrate_batch_norm(self.generator, [(self._latents(), self._labels()) for _ in range(20)])
        return self.gan

    def step(self, number: int) -> Mapping[str, Tensor]:
        """One generator step, then `discriminator_steps` of the discriminator, as published."""
        del number
        notes: dict[str, Tensor] = {}
        self.generator.train()
        self.discriminator.requires_grad_(False)
        labels = self._labels()
        images = self.generator(self._latents(), labels)
        loss = notes["generator"] = -self.discriminator(self.augment(images), labels).mean()
        if self.guidance is not None:
            notes["guidance"] = self.guidance(images, labels)
            loss = loss + notes["guidance"]
        self.of_generator.zero_grad()
        loss.backward()
        self.of_generator.step()
        if self.average is not None:
            self.average.update_parameters(self.generator)

        self.discriminator.requires_grad_(True)
        for _ in range(self.config.discriminator_steps):
            notes["discriminator"], notes["gap"] = self._train_discriminator()
        return notes

    def _train_discriminator(self) -> tuple[Tensor, Tensor]:
        n = self.config.batch_size
        real, real_labels = self._real()
        labels = self._labels()
        with torch.no_grad():
            both = self.augment(torch.cat([real, self.generator(self._latents(), labels)]))
        of_real, of_generated = self.discriminator(both, torch.cat([real_labels, labels])).split(n)
        loss = hinge_loss(of_real, of_generated)
        self.of_discriminator.zero_grad()
        loss.backward()
        self.of_discriminator.step()
        return loss, (of_real.mean() - of_generated.mean())

    def _real(self) -> tuple[Images, Labels]:
        labels = self._labels()
        if self.pseudo_labels is None:
            rows = torch.randint(len(self.pixels), labels.shape, device=self.device)
        else:
            rows = self.pseudo_labels[
                labels, torch.randint(self.pseudo_labels.shape[1], labels.shape, device=self.device)
            ]
        images = to_unit(self.pixels[rows])
        return (images + torch.rand_like(images) / 256 if self.config.dequantise else images), labels

    def _labels(self) -> Labels:
        return torch.randint(self.num_classes, (self.config.batch_size,), device=self.device)

    def _latents(self) -> Tensor:
        return torch.randn(self.config.batch_size, self.gan.latent_size, device=self.device)


class _StateOfAverage:
    """Fabric's wrapper renames weights in `state_dict` only when asked itself, so the average is not asked but what it holds."""

    def __init__(self, average: AveragedModel) -> None:
        self.average = average

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.average.module.state_dict(), "updates": self.average.n_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average.module.load_state_dict(state_dict["weights"])
        self.average.n_averaged.copy_(state_dict["updates"])


def hinge_loss(of_real: Tensor, of_generated: Tensor) -> Tensor:
    """Mean of max(0, 1 - D(real)) plus mean of max(0, 1 + D(generated))."""
    return F.relu(1 - of_real).mean() + F.relu(1 + of_generated).mean()
