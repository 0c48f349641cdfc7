"""Priors: generators of believable images, trained on public data, that attacks search."""

from trapmid.config import Member
from trapmid.priors.cgan import CGAN
from trapmid.priors.dcgan import DCGAN
from trapmid.priors.gan import GAN
from trapmid.priors.pretraining import open_prior, pretrain
from trapmid.priors.prior import Prior, PriorConfig
from trapmid.priors.semigan import SemiGAN
from trapmid.priors.sn_resnet import SNResNet
from trapmid.priors.strided import Strided

PRIORS: tuple[type[Member], ...] = (CGAN, DCGAN, SemiGAN)

__all__ = [
    "CGAN",
    "DCGAN",
    "GAN",
    "PRIORS",
    "Prior",
    "PriorConfig",
    "SNResNet",
    "SemiGAN",
    "Strided",
    "open_prior",
    "pretrain",
]
