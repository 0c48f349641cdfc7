"""Priors: generators of believable images, trained on public data, that attacks search."""

from typing import Annotated, get_args

from pydantic import Field

from trapmid.priors.cgan import CGAN, GAN
from trapmid.priors.pretraining import open_prior, pretrain
from trapmid.priors.prior import Prior, PriorConfig, StylePrior
from trapmid.priors.sn_resnet import SNResNet
from trapmid.priors.strided import Strided
from trapmid.priors.style_networks import Features
from trapmid.priors.stylegan2 import StyleGAN2

AnyPrior = Annotated[CGAN | StyleGAN2, Field(discriminator="kind")]
PRIORS: tuple[type[PriorConfig], ...] = get_args(get_args(AnyPrior)[0])

__all__ = [
    "CGAN",
    "GAN",
    "PRIORS",
    "AnyPrior",
    "Features",
    "Prior",
    "PriorConfig",
    "SNResNet",
    "Strided",
    "StyleGAN2",
    "StylePrior",
    "open_prior",
    "pretrain",
]
