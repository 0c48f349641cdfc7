"""The conditional GAN of PLG-MI (Yuan et al., AAAI 2023): hinge losses, a projection discriminator, guidance."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from trapmid.augment import AnyAugmentation, NoAugmentation
from trapmid.config import BelowOne, Count
from trapmid.data.images import to_unit
from trapmid.priors.fitting import Losses, fitted
from trapmid.priors.gan import GAN, Fit, GANConfig, Pair
from trapmid.priors.prior import PriorConfig, PriorTraining
from trapmid.priors.sn_resnet import SNResNet
from trapmid.priors.strided import Strided
from trapmid.types import Images, Labels

Guidance = Callable[[Images, Labels], Tensor]
"""An additional generator loss, a scalar for generated images and the labels that they were generated for."""


@final
class CGAN(GANConfig, PriorConfig):
    """`cgan`: PLG-MI's prior; the defaults are the published constants.

    Attributes:
        networks: the pair of networks.
        dequantise: whether to add U(0, 1/256) to real images, as published.
        augmentation: augmentation of real and generated images before the discriminator (Zhao et al. 2020); `none` is
            published. It regularises the discriminator if a class has few images.
        verdicts: whether a discriminator step processes generated and real images `apart`, in two forward passes, as in
            the authors' code, or `together` in one. Spectral norm does one power iteration in each pass.
    """

    title: ClassVar[str] = "Conditional GAN"
    paper: ClassVar[str] = "PLG-MI (Yuan et al., AAAI 2023); Miyato & Koyama 2018"
    kind: Literal["cgan"] = "cgan"
    networks: Annotated[SNResNet | Strided, Field(discriminator="kind")] = SNResNet()
    iterations: Count = 30_000
    betas: tuple[BelowOne, BelowOne] = (0.0, 0.9)
    dequantise: bool = True
    augmentation: AnyAugmentation = NoAugmentation()
    verdicts: Literal["apart", "together"] = "apart"

    def fit(
        self,
        setting: PriorTraining,
        *,
        pseudo_labels: Tensor | None = None,
        guidance: Guidance | None = None,
        start: GAN | None = None,
    ) -> GAN:
        """Train a pair of networks on public images.

        Args:
            setting: public images, seed, folder and other settings.
            pseudo_labels: (num_classes, n), the rows of `public` that are assigned to each class; None to draw images
                and labels independently, which trains a prior without knowledge of the classes.
            guidance: the attack's term in the generator loss.
            start: initial weights, of the same shapes.
        """
        begin = partial(CGANFit, self, pseudo_labels=pseudo_labels, guidance=guidance)
        return fitted(begin, setting, None if start is None else start.networks)

    def pair(self, num_classes: int, image_size: int, channels: int) -> Pair:
        """See `GANConfig.pair`."""
        return Pair(*self.networks.build(num_classes, image_size, channels), self.networks.latent_size)


@final
class CGANFit(Fit):
    """Hinge losses on images drawn class by class."""

    config: CGAN

    def __init__(
        self,
        config: CGAN,
        setting: PriorTraining,
        pseudo_labels: Tensor | None = None,
        guidance: Guidance | None = None,
    ) -> None:
        super().__init__(config, setting)
        self.guidance = guidance
        self.pseudo_labels = None if pseudo_labels is None else pseudo_labels.to(self.device)
        self.augment = config.augmentation.build(setting.public.image_size)

    def generator_losses(self) -> Losses:
        """The negative discriminator output, and the guidance of the attack."""
        labels = self.labels()
        images = self.generator(self.latents(), labels)
        losses = {"generator": -self.discriminator(self.augment(images), labels).mean()}
        if self.guidance is not None:
            losses["guidance"] = self.guidance(images, labels)
        return losses

    def discriminator_losses(self) -> tuple[Losses, Losses]:
        """The hinge loss, and the difference between the outputs for real and generated images."""
        real, real_labels = self.real()
        labels = self.labels()
        with torch.no_grad():
            both = self.augment(torch.cat([real, self.generator(self.latents(), labels)]))
        if self.config.verdicts == "together":
            of_real, of_generated = self.discriminator(both, torch.cat([real_labels, labels])).chunk(2)
        else:
            real, generated = both.chunk(2)
            of_generated = self.discriminator(generated, labels)
            of_real = self.discriminator(real, real_labels)
        gap = of_real.mean() - of_generated.mean()
        return {"discriminator": hinge_loss(of_real, of_generated)}, {"gap": gap}

    def real(self) -> tuple[Images, Labels]:
        """A batch of public images with their labels."""
        labels = self.labels()
        images = to_unit(self.pixels[self.rows_of(labels, self.pseudo_labels)])
        return (images + self.uniform(*images.shape[1:]) / 256 if self.config.dequantise else images), labels


def hinge_loss(of_real: Tensor, of_generated: Tensor) -> Tensor:
    """Mean of max(0, 1 - D(real)) plus mean of max(0, 1 + D(generated))."""
    return F.relu(1 - of_real).mean() + F.relu(1 + of_generated).mean()
