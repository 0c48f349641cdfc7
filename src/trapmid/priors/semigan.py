"""KED-MI's prior: a DCGAN whose discriminator learns the target's soft labels (Chen et al., ICCV 2021)."""

from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import BelowOne, Count, Deviation, NonNegative, Width
from trapmid.data.images import to_unit
from trapmid.priors.dcgan import DCGenerator
from trapmid.priors.fitting import Losses, fitted
from trapmid.priors.gan import GAN, Fit, GANConfig, Pair
from trapmid.priors.prior import PriorTraining
from trapmid.priors.strided import halvings
from trapmid.together import gather
from trapmid.types import Images, Logits, Prediction


class MinibatchDiscrimination(nn.Module):
    """Sum of exp(-L1 distance) to the other images in `outputs` learned spaces (Salimans et al. 2016).

    Without `company`, the other images are always the rest of the batch, as published. The initial weights are then
    standard normal, so at first the distances are large and their exponentials are zero.

    `company` is a number of images to store. With it, the other images in train mode are the rest of the batch, and
    they are stored. In eval mode, every image is compared with the images stored last, similar to the running
    statistics of batch norm, so no image influences the output for another one. The initial weights are then chosen so
    that distances start near one, where exp(-x) has a gradient.
    """

    company: Tensor

    def __init__(self, features: int, company: int | None, outputs: int = 64, dims: int = 50) -> None:
        super().__init__()
        self.shape, self.keeps = (outputs, dims), company is not None
        self.spaces = nn.Linear(features, outputs * dims, bias=False)
        nn.init.normal_(self.spaces.weight, 0, 1.0 if company is None else 1 / (dims * features**0.5))
        if company is not None:
            self.register_buffer("company", torch.zeros(company, *self.shape))

    def forward(self, features: Tensor) -> Tensor:
        """The statistics (n, outputs) of features (n, d)."""
        points = self.spaces(features).view(-1, *self.shape)
        if self.keeps and not self.training:
            return _nearness(points, self.company).sum(1)
        everybody = gather(points)
        if self.keeps:
            self.company = everybody.detach()[1:]
        return _nearness(points, everybody).sum(1) - 1  # every image has distance zero from itself


def _nearness(points: Tensor, others: Tensor) -> Tensor:
    """The values of exp(-L1 distance), (n, m, outputs), of points (n, outputs, dims) and others (m, outputs, dims)."""
    distances = torch.cdist(points.transpose(0, 1), others.transpose(0, 1), p=1)
    return distances.neg().exp().permute(1, 2, 0)


class SemiDiscriminator(nn.Module):
    """Convolutions of stride 2 with instance norm and leaky ReLU.

    The logits are computed from the last map and minibatch statistics.
    """

    def __init__(self, num_classes: int, image_size: int, channels: int, width: int, company: int | None) -> None:
        super().__init__()
        side, downs = halvings(image_size)
        widths = [channels, *(width * 2**i for i in range(downs - 1))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 5, 2, 2), nn.InstanceNorm2d(after, affine=True), nn.LeakyReLU(0.2)]
        last = widths[-1]
        layers += [nn.Conv2d(last, last, 3, 2, 1), nn.InstanceNorm2d(last, affine=True), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.minibatch = MinibatchDiscrimination(last * side**2, company)
        self.head = nn.Linear(last * side**2 + self.minibatch.shape[0], num_classes)

    def forward(self, images: Images) -> Prediction:
        """Logits. Features are the flattened last map."""
        features = self.layers(images)
        return Prediction(self.head(torch.cat([features, self.minibatch(features)], 1)), features)


@final
class SemiGAN(GANConfig):
    """`semigan`: KED-MI's prior; the defaults are the published constants (see `DCGAN` for the number of iterations).

    The authors query the target in train mode for soft labels at every step. Here, it is queried in eval mode, once for
    each image.

    Attributes:
        width: number of channels at full resolution. It doubles with every halving of the side.
        latent_size: length of a latent.
        unlabelled_weight: weight of the real-or-generated term in the discriminator loss.
        entropy_weight: weight of the summed entropy of a generated batch's labels in the generator loss.
        company: the images with which minibatch discrimination compares an image in eval mode, and therefore in a
            search: the `batch`, as published, or `kept` samples, so that the result for an identity does not depend on
            the other identities in the batch. `MinibatchDiscrimination` describes the initial weights in both cases.
    """

    title: ClassVar[str] = "Semi-supervised GAN"
    paper: ClassVar[str] = "KED-MI (Chen et al., ICCV 2021); Salimans et al. 2016"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "the target's soft labels",
            "asked at every step, the target in train mode",
            "asked once for each image, in eval mode",
            "the model that is attacked answers in eval mode; fewer queries",
        ),
    )
    kind: Literal["semigan"] = "semigan"
    width: Width = 64
    latent_size: Width = 100
    iterations: Count = 11_250
    betas: tuple[BelowOne, BelowOne] = (0.5, 0.999)
    unlabelled_weight: NonNegative = 0.5
    entropy_weight: NonNegative = 1e-4
    company: Literal["batch", "kept"] = "batch"

    def fit(
        self,
        setting: PriorTraining,
        soft_labels: Tensor,
        *,
        start: GAN | None = None,
        resume: GAN | None = None,
    ) -> GAN:
        """Train a pair on public images and the target's soft labels for them.

        Args:
            setting: public images, seed, folder and other settings.
            soft_labels: (len(public), num_classes), the target's probabilities.
            start: a pair whose generator has the same shapes and provides its initial weights.
            resume: a pair of this kind, which provides the initial weights of both networks.
        """
        first = None if start is None else {"generator": start.generator}
        if resume is not None:
            first = resume.networks
        return fitted(partial(SemiGANFit, self, soft_labels=soft_labels), setting, first)

    def pair(self, num_classes: int, image_size: int, channels: int) -> Pair:
        """See `GANConfig.pair`."""
        generator = DCGenerator(image_size, channels, self.latent_size, self.width)
        company = self.batch_size - 1 if self.company == "kept" else None
        discriminator = SemiDiscriminator(num_classes, image_size, channels, self.width, company)
        return Pair(generator, discriminator, self.latent_size)


@final
class SemiGANFit(Fit):
    """The training of a `SemiGAN`.

    The discriminator learns soft labels and to distinguish real from generated images. The generator is trained with
    feature matching and low entropy.
    """

    config: SemiGAN

    def __init__(self, config: SemiGAN, setting: PriorTraining, soft_labels: Tensor) -> None:
        super().__init__(config, setting)
        self.soft_labels = soft_labels.to(self.device)

    def generator_losses(self) -> Losses:
        """The mean absolute difference between the mean features of generated and of real images, and the entropy.

        Both are of the whole batch, so processes exchange features and logits.
        """
        generated = self.discriminator(self.generator(self.latents(), self.labels()))
        with torch.no_grad():
            real = self.discriminator(self.real(self.rows()))
        matching = (gather(generated.features).mean(0) - gather(real.features).mean(0)).abs().mean()
        entropy = summed_entropy(gather(generated.logits))
        return {"generator": matching, "entropy": self.config.entropy_weight * entropy}

    def trained(self, rows: list[dict[str, float]]) -> GAN:
        """See `Fit.trained`. If the discriminator keeps images to compare with, it gets some of the last generator."""
        gan = super().trained(rows)
        if self.config.company == "kept":
            with self.randomness("company"), torch.no_grad():
                gan.discriminator.train()(gan.decode(self.latents(), self.labels()))
        return gan

    def discriminator_losses(self) -> tuple[Losses, Losses]:
        """The losses on three batches: one with soft labels, one of real and one of generated images.

        Minibatch discrimination compares images only within the same batch.
        """
        rows = self.rows()
        labelled = F.cross_entropy(self.discriminator(self.real(rows)).logits, self.soft_labels[rows])
        of_real = realness(self.discriminator(self.real(self.rows())).logits)
        with torch.no_grad():
            images = self.generator(self.latents(), self.labels())
        of_generated = realness(self.discriminator(images).logits)
        told_apart = (F.softplus(of_real) - of_real).mean() + F.softplus(of_generated).mean()
        gap = of_real.mean() - of_generated.mean()
        return {"discriminator": self.config.unlabelled_weight * told_apart, "soft_labels": labelled}, {"gap": gap}

    def real(self, rows: Tensor) -> Images:
        """Public images at the given rows."""
        return to_unit(self.pixels[rows])


def realness(logits: Logits) -> Tensor:
    """The logits (n,) of being real, which are log sum exp over the classes (Salimans et al. 2016, Sec. 5)."""
    return logits.logsumexp(1)


def summed_entropy(logits: Logits) -> Tensor:
    """Entropy of the softmax, summed over the batch as in the authors' code."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum()
