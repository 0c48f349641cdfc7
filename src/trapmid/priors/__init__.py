"""Priors: generators of believable images, trained on public data, that attacks search."""

from trapmid.priors.cgan import CGAN, GAN
from trapmid.priors.pretraining import open_prior, pretrain
from trapmid.priors.prior import Prior, PriorConfig
from trapmid.priors.sn_resnet import SNResNet
from trapmid.priors.strided import Strided

PRIORS: tuple[type[PriorConfig], ...] = (CGAN,)

__all__ = ["CGAN", "GAN", "PRIORS", "Prior", "PriorConfig", "SNResNet", "Strided", "open_prior", "pretrain"]
