"""The StyleGAN2 prior (Karras et al., CVPR 2020): logistic losses, lazy R1, averaged weights.

It can also start from official weights.
"""

from collections.abc import Mapping as Named
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trapmid.augment import AnyAugmentation, NoAugmentation
from trapmid.config import BatchSize, BelowOne, Count, Deviation, NonNegative, Probability, Rate, Side, Width
from trapmid.data.images import to_unit
from trapmid.engine import Compute, Loop
from trapmid.priors.fitting import Losses, PriorFit, descend, fitted
from trapmid.priors.gan import GENERATOR, save_network
from trapmid.priors.prior import PriorConfig, PriorTraining, StylePrior
from trapmid.priors.style_networks import Features, Mapping, StyleDiscriminator, Synthesis
from trapmid.reading import read_tensors
from trapmid.types import Images, Stateful, UserError

FOR_THE_MEAN = 10_000
"""Number of latents. Their mean style is the centre of truncation."""


class StyleGAN2(PriorConfig):
    """`stylegan2`: PPA's prior; the defaults are the published constants.

    Attributes:
        weights: official weights as a safetensors file: the state dict of the `G_ema` of a StyleGAN2-ADA network
            snapshot, names unchanged; None to train the networks.
        resolution: side of the generator's pictures, a power of two; None for the side of the public images.
        crop: side of the central square to which a picture is cropped before it is resized to the side of the public
            images; None for no cropping.
        latent_size: length of a latent.
        style_size: length of a style.
        mapping_layers: number of layers between latent and style.
        capacity: product of the width and the side of a map. The width is at most `widest`.
        widest: the largest number of channels.
        iterations: number of steps of both networks in turn; 25 million images, as published.
        batch_size: number of images in a step.
        rate: learning rate of Adam for both networks.
        betas: betas of Adam.
        r1: weight of the squared gradient of the discriminator at real images.
        r1_every: number of steps between two penalties. A penalty is scaled to compensate for the steps without one.
        mixing: share of the images with two styles, which are exchanged at a random layer.
        augmentation: augmentation of real and generated images before the discriminator; `none` is published.
        ema: decay of the moving average of generator weights that is used after training.
        log_every: number of iterations between two rows of the log.

    Unlike the published training, this one has no path length regularisation. The centre of truncation is the mean
    style of 10,000 latents after training, whereas the authors track it during training.
    """

    title: ClassVar[str] = "StyleGAN2"
    paper: ClassVar[str] = "StyleGAN2 (Karras et al., CVPR 2020)"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "path length",
            "penalised",
            "not",
            "the attacks here do without",
        ),
        Deviation(
            "mean style",
            "tracked while training",
            "the mean of 10,000 styles after it",
            "no decay constant to choose",
        ),
    )
    kind: Literal["stylegan2"] = "stylegan2"
    weights: Path | None = None
    resolution: Side | None = None
    crop: Side | None = None
    latent_size: Width = 512
    style_size: Width = 512
    mapping_layers: Count = 8
    capacity: Count = 32_768
    widest: Width = 512
    iterations: Count = 781_250
    batch_size: BatchSize = 32
    rate: Rate = 2e-3
    betas: tuple[BelowOne, BelowOne] = (0.0, 0.99)
    r1: NonNegative = 10.0
    r1_every: Count = 16
    mixing: Probability = 0.9
    augmentation: AnyAugmentation = NoAugmentation()
    ema: BelowOne = 0.998
    log_every: Count = 100

    def fit(self, setting: PriorTraining) -> "StyleGAN":
        """Train on public images, or read official weights.

        Raises:
            UserError: the generator cannot produce pictures of that size, or the weights do not fit.
        """
        if self.weights is None:
            return fitted(partial(StyleGAN2Fit, self), setting)
        public = setting.public
        prior = self.build(setting.num_classes, public.image_size, public.channels, setting.compute).load(self.weights)
        size = torch.tensor(float(sum(p.numel() for p in prior.generator.parameters())))
        loop = Loop(setting.name, 1, setting.seed, setting.compute, {}, setting.folder, progress=setting.progress)
        prior.rows = loop.run(lambda _: {"parameters": size})
        return prior

    def build(self, num_classes: int, image_size: int, channels: int, compute: Compute) -> "StyleGAN":
        """A generator with random weights, on the device.

        Raises:
            UserError: the resolution is not a power of two, or is smaller than the crop.
        """
        resolution = self.resolution_for(image_size)
        mapping = Mapping(self.latent_size, self.style_size, self.mapping_layers)
        synthesis = Synthesis(resolution, channels, self.style_size, self.capacity, self.widest)
        return StyleGAN(self, mapping, synthesis, num_classes, image_size, compute)

    def check_size(self, image_size: int) -> None:
        """See `resolution_for`."""
        self.resolution_for(image_size)

    def resolution_for(self, image_size: int) -> int:
        """The side of the generator's pictures for images of size `image_size`."""
        resolution = self.resolution or image_size
        if resolution & (resolution - 1) or resolution < 8:
            raise UserError(
                f"stylegan2 makes pictures whose side is a power of two from 8 up; asked for {resolution} px. Set "
                "prior.resolution, or load the images at 32 or 64 px."
            )
        if self.crop is not None and self.crop > resolution:
            raise UserError(f"stylegan2 cannot keep the {self.crop} px in the middle of a picture of {resolution} px.")
        return resolution

    def open(self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute) -> "StyleGAN":
        """See `PriorConfig.open`."""
        channels, size, _ = image_shape
        return self.build(num_classes, size, channels, compute).load(folder / GENERATOR)


@final
class StyleGAN(StylePrior):
    """A generator in eval mode. Noise is fixed, so a picture is a function of its style."""

    def __init__(
        self,
        config: StyleGAN2,
        mapping: Mapping,
        synthesis: Synthesis,
        num_classes: int,
        image_size: int,
        compute: Compute,
    ) -> None:
        self.generator = nn.ModuleDict({"mapping": mapping, "synthesis": synthesis}).eval()
        self.mean = mapping
        self.mapping, self.synthesis = compute.place(mapping), compute.place(synthesis)
        self.latent_size, self.style_size, self.num_classes = config.latent_size, config.style_size, num_classes
        self.blocks, self.crop, self.image_size = len(synthesis.sides), config.crop, image_size
        self.device, self.rows = compute.torch_device, []

    def map(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        """See `StylePrior.map`."""
        return self.mean.w_avg.lerp(self.mapping(latents), truncation)

    def synthesise(self, styles: Tensor) -> Images:
        """See `StylePrior.synthesise`."""
        return self._framed(self.synthesis(styles).picture)

    def features_at(self, styles: Tensor, blocks: int, start: Features | None = None) -> Features:
        """See `StylePrior.features_at`."""
        return self.synthesis(styles, start, blocks)

    def from_features(self, features: Features, styles: Tensor) -> Images:
        """See `StylePrior.from_features`."""
        return self._framed(self.synthesis(styles, features).picture)

    def _framed(self, picture: Tensor) -> Images:
        side = picture.shape[-1]
        if self.crop is not None:
            edge = (side - self.crop) // 2
            picture = picture[:, :, edge : edge + self.crop, edge : edge + self.crop]
        if picture.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
        return picture * 0.5 + 0.5

    def save(self, folder: Path) -> list[str]:
        """Write the generator to `folder`, with the official names of weights."""
        return [save_network(self.generator, folder / GENERATOR)]

    def load(self, file: Path) -> "StyleGAN":
        """Load weights that `save` wrote, or official weights, into the generator. Returns itself.

        Raises:
            UserError: names or shapes differ.
        """
        if not file.is_file():
            raise UserError(f"{file} does not exist. Expected the state dict of a StyleGAN2-ADA G_ema as safetensors.")
        given, wanted = read_tensors(file), self.generator.state_dict()
        for name in sorted(given.keys() | wanted.keys()):
            there, here = (tuple(d[name].shape) if name in d else None for d in (given, wanted))
            if there != here:
                raise UserError(
                    f"{file} does not fit the generator: {name} is {there or 'missing'} there and "
                    f"{here or 'not wanted'} here. "
                    "Set resolution, latent_size, style_size, mapping_layers, capacity and widest to the network's."
                )
        self.generator.load_state_dict(given)
        return self


@final
class StyleGAN2Fit(PriorFit[StyleGAN]):
    """The training of a `StyleGAN2`: both networks in turn."""

    config: StyleGAN2

    def __init__(self, config: StyleGAN2, setting: PriorTraining) -> None:
        public, compute = setting.public, setting.compute
        if config.resolution_for(public.image_size) != public.image_size or config.crop is not None:
            raise UserError(
                f"stylegan2 trains at the side of the public images, {public.image_size} px; resolution and crop are "
                "for official weights (prior.weights)."
            )
        super().__init__(config, setting)
        self.augment = config.augmentation.build(public.image_size)
        with self.randomness("weights"):
            self.prior = config.build(setting.num_classes, public.image_size, public.channels, compute)
            discriminator = StyleDiscriminator(public.image_size, public.channels, config.capacity, config.widest)
            self.discriminator = compute.place(discriminator)
        networks = self.prior.generator
        lazy = config.r1_every / (config.r1_every + 1)
        self.of_generator = torch.optim.Adam(networks.parameters(), config.rate, config.betas)
        self.of_discriminator = torch.optim.Adam(
            self.discriminator.parameters(), config.rate * lazy, (config.betas[0] ** lazy, config.betas[1] ** lazy)
        )
        self.average = AveragedModel(networks, multi_avg_fn=get_ema_multi_avg_fn(config.ema))

    def state(self) -> Named[str, Stateful]:
        """Both networks with their optimizers, and the moving average."""
        return {
            "generator": self.prior.generator,
            "discriminator": self.discriminator,
            "of_generator": self.of_generator,
            "of_discriminator": self.of_discriminator,
            "average": self.average,
        }

    def trained(self, rows: list[dict[str, float]]) -> StyleGAN:
        """The generator with averaged weights, and the mean style."""
        self.prior.rows = rows
        self.prior.generator.load_state_dict(self.average.module.state_dict())
        self.prior.generator.eval()
        with torch.no_grad(), self.randomness("mean style"):
            latents = torch.randn(FOR_THE_MEAN, self.config.latent_size, device=self.device)
            self.prior.mean.w_avg.copy_(self.prior.mapping(latents).mean(0))
        return self.prior

    def step(self, number: int) -> Losses:
        """Update the discriminator, including its penalty in every `r1_every`-th step, then the generator."""
        self.prior.generator.train()
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            generated = self._generate()
        of_real, of_generated = self.discriminator(self._real()), self.discriminator(self.augment(generated))
        notes = {"discriminator": logistic_loss(of_real, of_generated), "gap": of_real.mean() - of_generated.mean()}
        descend(notes["discriminator"], self.of_discriminator, self.discriminator)
        if number % self.config.r1_every == 0:
            penalty = r1_penalty(self.discriminator, self._real()).mean() / 4  # published for images in [-1, 1]
            descend(self.config.r1 / 2 * self.config.r1_every * penalty, self.of_discriminator, self.discriminator)

        self.discriminator.requires_grad_(False)
        notes["generator"] = F.softplus(-self.discriminator(self.augment(self._generate()))).mean()
        descend(notes["generator"], self.of_generator, self.prior.generator)
        self.average.update_parameters(self.prior.generator)
        return notes

    def _generate(self) -> Images:
        layers = 2 * self.prior.blocks
        first, second = (self.prior.mapping(self.normal(self.config.latent_size)) for _ in range(2))
        exchanged_at = self.integers(1, layers, 1, 1)
        mixed = self.uniform(1, 1) < self.config.mixing
        beyond = torch.arange(layers, device=self.device)[None, :, None] >= exchanged_at
        styles = torch.where(mixed & beyond, second[:, None], first[:, None])
        return self.prior.synthesis(styles).picture * 0.5 + 0.5

    def _real(self) -> Images:
        return self.augment(to_unit(self.pixels[self.rows()]))


def logistic_loss(of_real: Tensor, of_generated: Tensor) -> Tensor:
    """Mean of softplus(-D(real)) plus mean of softplus(D(generated)) (Goodfellow et al. 2014, non-saturating)."""
    return F.softplus(-of_real).mean() + F.softplus(of_generated).mean()


def r1_penalty(discriminator: nn.Module, images: Images) -> Tensor:
    """The squared norm (n,) of the gradient at each real image, differentiable (Mescheder et al. 2018, Eq. 9)."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3))
