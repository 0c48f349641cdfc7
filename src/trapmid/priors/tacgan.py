"""LOKT's prior: an ACGAN whose classifier learns the target's labels (Nguyen et al., NeurIPS 2023)."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import BatchSize, BelowOne, Count, CountOrZero, Deviation, NonNegative
from trapmid.data.images import to_unit
from trapmid.models import AnyModel
from trapmid.priors.fitting import Losses, fitted
from trapmid.priors.gan import GAN, Fit, GANConfig, Pair
from trapmid.priors.prior import PriorTraining
from trapmid.priors.sn_resnet import SNResNet
from trapmid.priors.strided import Strided
from trapmid.types import Images, Labels, Logits, Prediction, UserError, prediction_of

Labeller = Callable[[Images], Labels]
"""Returns the target's label for each image."""


@final
class TACGAN(GANConfig):
    """`tacgan`: a target model-assisted auxiliary-classifier GAN; the defaults are the constants of the authors' code.

    The discriminator distinguishes real from generated images and has a classifier head. The head learns the target's
    labels of generated images, because the labels of public images do not cover most classes. The generator learns to
    produce images that the discriminator classifies as real and as their label.

    Attributes:
        networks: the config of the generator. Its discriminator is not used, but the blocks of the discriminator are
            used if `discriminator` is None.
        discriminator: any classifier, with one output for each class and one more for being real; None for PLG-MI's
            spectrally normalised blocks with two plain linear layers, as published.
        class_weight: weight of the terms of the head in both losses.
        warm_up: number of initial iterations without class terms in the losses, which do not query the target. The
            authors' code has 1,000 for CelebA, 2,000 for FFHQ, 3,000 for FaceScrub and 6,000 for PubFig83.
    """

    title: ClassVar[str] = "T-ACGAN"
    paper: ClassVar[str] = "LOKT (Nguyen et al., NeurIPS 2023); Odena et al. 2017"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "images that the target labels",
            "as generated",
            "clipped to [0, 1]",
            "a target that is reached by files or HTTP takes no others",
        ),
    )
    kind: Literal["tacgan"] = "tacgan"
    networks: Annotated[SNResNet | Strided, Field(discriminator="kind")] = SNResNet()
    discriminator: AnyModel | None = None
    iterations: Count = 20_000
    batch_size: BatchSize = 128
    betas: tuple[BelowOne, BelowOne] = (0.0, 0.9)
    class_weight: NonNegative = 1.5
    warm_up: CountOrZero = 1_000

    def fit(self, setting: PriorTraining, labeller: Labeller, *, start: GAN | None = None) -> GAN:
        """Train a pair on public images and the target's labels for generated images.

        Args:
            setting: public images, seed, folder and other settings.
            labeller: labels every generated image that the discriminator learns from.
            start: a pair with a generator of the same shapes, which provides the initial weights.
        """
        first = None if start is None else {"generator": start.generator}
        return fitted(partial(TACGANFit, self, labeller=labeller), setting, first)

    def pair(self, num_classes: int, image_size: int, channels: int) -> Pair:
        """See `GANConfig.pair`."""
        generator, _ = self.networks.build(num_classes, image_size, channels)
        discriminator: nn.Module
        if self.discriminator is not None:
            discriminator = self.discriminator.build(num_classes + 1, image_size, channels)
        elif isinstance(self.networks, SNResNet):
            discriminator = self.networks.classifier(num_classes, channels)
        else:
            raise UserError(
                "tacgan.discriminator=null takes the blocks of the sn-resnet networks, and networks.kind is "
                f"{self.networks.kind}. Name a discriminator, such as small-resnet."
            )
        return Pair(generator, discriminator, self.networks.latent_size)


@final
class TACGANFit(Fit):
    """The training of a `TACGAN`.

    The discriminator learns to distinguish real from generated images, and the target's labels. The loss of the
    generator uses both outputs of the discriminator.
    """

    config: TACGAN

    def __init__(self, config: TACGAN, setting: PriorTraining, labeller: Labeller) -> None:
        super().__init__(config, setting)
        self.labeller = labeller

    def generator_losses(self) -> Losses:
        """The negative log-probabilities of being real, and of the label that an image was generated for."""
        labels = self.labels()
        real, classes = verdicts(self.discriminator(self.generator(self.latents(), labels)))
        losses = {"generator": F.softplus(-real).mean()}
        if self.number >= self.config.warm_up:
            losses["class"] = self.config.class_weight * F.cross_entropy(classes, labels)
        return losses

    def discriminator_losses(self) -> tuple[Losses, Losses]:
        """Binary cross-entropy, and cross-entropy to the target's labels.

        Also returns how often the target's label equals the label that the image was generated for.
        """
        labels = self.labels()
        with torch.no_grad():
            images = self.generator(self.latents(), labels).clamp(0, 1)
        of_real, _ = verdicts(self.discriminator(to_unit(self.pixels[self.rows()])))
        of_generated, classes = verdicts(self.discriminator(images))
        losses = {"discriminator": F.softplus(-of_real).mean() + F.softplus(of_generated).mean()}
        if self.number < self.config.warm_up:
            return losses, {}
        told = self.labeller(images)
        losses["told"] = self.config.class_weight * F.cross_entropy(classes, told)
        return losses, {"as_asked": (told == labels).double().mean()}


def verdicts(output: Tensor | Prediction) -> tuple[Tensor, Logits]:
    """The logits (n,) of being real, and the logits (n, classes) of the classes."""
    logits = prediction_of(output).logits
    return logits[:, -1], logits[:, :-1]


@final
class ClassHead(nn.Module):
    """The class head of a discriminator as a classifier, which is a surrogate of the target."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, images: Images) -> Prediction:
        """Logits of the classes. Features are those of the discriminator."""
        seen = prediction_of(self.discriminator(images))
        return Prediction(verdicts(seen)[1], seen.features)
