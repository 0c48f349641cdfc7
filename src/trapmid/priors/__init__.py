"""Priors: generators of realistic images, trained on public data, in which attacks search."""

from typing import Annotated, TypeAlias, get_args

from pydantic import Field

from trapmid.config import Member
from trapmid.priors.cgan import CGAN
from trapmid.priors.dcgan import DCGAN
from trapmid.priors.diffusion import Diffusion, DiffusionPrior
from trapmid.priors.gan import GAN, GANConfig, LoneGenerator
from trapmid.priors.mobile_stylegan import FFHQMobile
from trapmid.priors.pretraining import open_prior, pretrain
from trapmid.priors.prior import Prior, PriorConfig, PriorTraining, StylePrior
from trapmid.priors.semigan import SemiGAN
from trapmid.priors.sn_resnet import SNResNet
from trapmid.priors.strided import Strided
from trapmid.priors.style_networks import Features
from trapmid.priors.stylegan2 import StyleGAN2
from trapmid.priors.tacgan import TACGAN
from trapmid.priors.unet import UNet

AnyPrior = Annotated[CGAN | DCGAN | StyleGAN2 | FFHQMobile, Field(discriminator="kind")]
"""Priors that know no target."""

AnyStylePrior = Annotated[StyleGAN2 | FFHQMobile, Field(discriminator="kind")]
"""Those whose styles can be searched."""

OwnPrior: TypeAlias = GANConfig | Diffusion
"""Priors that an attack trains with queries to the target."""

PRIORS: tuple[type[Member], ...] = (*get_args(get_args(AnyPrior)[0]), SemiGAN, TACGAN, Diffusion)

__all__ = [
    "CGAN",
    "DCGAN",
    "GAN",
    "PRIORS",
    "TACGAN",
    "AnyPrior",
    "AnyStylePrior",
    "Diffusion",
    "DiffusionPrior",
    "FFHQMobile",
    "Features",
    "GANConfig",
    "LoneGenerator",
    "OwnPrior",
    "Prior",
    "PriorConfig",
    "PriorTraining",
    "SNResNet",
    "SemiGAN",
    "Strided",
    "StyleGAN2",
    "StylePrior",
    "UNet",
    "open_prior",
    "pretrain",
]
