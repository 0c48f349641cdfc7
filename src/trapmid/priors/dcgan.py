"""GMI's prior (Zhang et al., CVPR 2020): a DCGAN, trained as a Wasserstein GAN with gradient penalty."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from trapmid.config import BelowOne, Count, NonNegative, Width
from trapmid.data.images import to_unit
from trapmid.priors.fitting import Losses, fitted
from trapmid.priors.gan import GAN, Fit, GANConfig, Pair
from trapmid.priors.prior import PriorConfig, PriorTraining
from trapmid.priors.strided import halvings
from trapmid.types import Images, Labels


class DCGenerator(nn.Module):
    """A linear layer to 4 x 4, then transposed 5x5 convolutions of stride 2 with batch norm and ReLU, and a sigmoid."""

    def __init__(self, image_size: int, channels: int, latent_size: int, width: int) -> None:
        super().__init__()
        side, ups = halvings(image_size)
        widths = [width * 2 ** (ups - 1 - i) for i in range(ups)]
        flat = widths[0] * side**2
        self.project = nn.Sequential(nn.Linear(latent_size, flat, bias=False), nn.BatchNorm1d(flat), nn.ReLU())
        layers: list[nn.Module] = [nn.Unflatten(1, (widths[0], side, side))]
        for before, after in pairwise(widths):
            layers += [_up(before, after, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.ups = nn.Sequential(*layers, _up(widths[-1], channels, bias=True))

    def forward(self, latents: Tensor, labels: Labels) -> Images:
        """Images (n, channels, image_size, image_size) in (0, 1). Labels are ignored."""
        del labels
        return torch.sigmoid(self.ups(self.project(latents)))


class Critic(nn.Module):
    """5x5 convolutions of stride 2 with leaky ReLU and, after the first, instance norm.

    The last convolution has the size of the map.
    """

    def __init__(self, image_size: int, channels: int, width: int) -> None:
        super().__init__()
        side, downs = halvings(image_size)
        widths = [channels, *(width * 2**i for i in range(downs))]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            norm = [nn.InstanceNorm2d(after, affine=True)] if number > 0 else []
            layers += [nn.Conv2d(before, after, 5, 2, 2), *norm, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, side), nn.Flatten(0))

    def forward(self, images: Images) -> Tensor:
        """Scores (n,), which are higher for more realistic images. Each score depends on one image only."""
        return self.layers(images)


@final
class DCGAN(GANConfig, PriorConfig):
    """`dcgan`: GMI's prior, which is unconditional; the defaults are the published constants.

    The published 120 epochs over 30,000 images, with batches of 64 and a generator step after every five discriminator
    steps, are 11,250 iterations.

    Attributes:
        width: number of channels at full resolution. It doubles with every halving of the side.
        latent_size: length of a latent.
        penalty: weight of the gradient penalty.
    """

    title: ClassVar[str] = "WGAN-GP"
    paper: ClassVar[str] = "GMI (Zhang et al., CVPR 2020); WGAN-GP (Gulrajani et al., NeurIPS 2017)"
    kind: Literal["dcgan"] = "dcgan"
    width: Width = 64
    latent_size: Width = 100
    iterations: Count = 11_250
    betas: tuple[BelowOne, BelowOne] = (0.5, 0.999)
    penalty: NonNegative = 10.0

    def fit(self, setting: PriorTraining, *, start: GAN | None = None) -> GAN:
        """Train a pair of networks on public images, from the weights of `start` if there is one."""
        return fitted(partial(DCGANFit, self), setting, None if start is None else start.networks)

    def pair(self, num_classes: int, image_size: int, channels: int) -> Pair:
        """See `GANConfig.pair`."""
        del num_classes
        generator = DCGenerator(image_size, channels, self.latent_size, self.width)
        return Pair(generator, Critic(image_size, channels, self.width), self.latent_size)


@final
class DCGANFit(Fit):
    """The Wasserstein losses."""

    config: DCGAN

    def generator_losses(self) -> Losses:
        """The negative output of the critic."""
        return {"generator": -self.discriminator(self.generator(self.latents(), self.labels())).mean()}

    def discriminator_losses(self) -> tuple[Losses, Losses]:
        """The difference of the outputs and the penalty. The gap is an estimate of the Wasserstein distance."""
        real = to_unit(self.pixels[self.rows()])
        with torch.no_grad():
            generated = self.generator(self.latents(), self.labels())
        of_real, of_generated = self.discriminator(torch.cat([real, generated])).chunk(2)
        gap = of_real.mean() - of_generated.mean()
        penalty = self.config.penalty * gradient_penalty(self.discriminator, real, generated, self.uniform(1, 1, 1))
        return {"discriminator": -gap, "penalty": penalty}, {"gap": gap}


def gradient_penalty(critic: Callable[[Images], Tensor], real: Images, generated: Images, share: Tensor) -> Tensor:
    """Mean of (|d critic / d x| - 1)^2 at x between real and generated images (Gulrajani et al., Eq. 3).

    Args:
        critic: maps images to scores (n,).
        real: (n, c, h, w).
        generated: (n, c, h, w).
        share: (n, 1, 1, 1), the share of the generated image in each x, drawn from 0 to 1.
    """
    between = (real + share * (generated - real)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def _up(before: int, after: int, *, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1, bias=bias)
