"""KED-MI (Chen et al., ICCV 2021): a GAN that learns the target's soft labels, and a distribution of latents."""

from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.gans import kept, warm_start_of
from trapmid.attacks.search import (
    Box,
    Descent,
    IdentityLoss,
    cross_entropy,
    decode_found,
    initial_latents,
    score_public,
)
from trapmid.config import Count, Deviation, NonNegative, Rate
from trapmid.data.images import ImageSet
from trapmid.priors import DCGAN, GAN, GANConfig, PriorConfig, SemiGAN
from trapmid.priors.semigan import realness
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels


@final
class KEDMI(Effort, Attack[WhiteBoxTarget, GAN]):
    """`kedmi`: knowledge-enriched distributional inversion; the defaults are the published constants.

    Attributes:
        prior: the GAN, trained with the target's soft labels.
        warm_start: config of a GAN with a generator of the same shapes, which is trained on the public images without
            the target. Its generator provides the initial weights; None for random weights, as published.
        identity_weight: weight of the cross-entropy relative to the output of the discriminator.
        box: lower and upper bound of every entry of a latent; None for no bounds. This equals the published code, whose
            clamp has no effect, because it acts on a copy.
        search_steps: number of steps of the optimiser.
        search_rate: learning rate of the optimiser.
    """

    title: ClassVar[str] = "KED-MI"
    paper: ClassVar[str] = "KED-MI (Chen et al., ICCV 2021), Eq. 1-8"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "identities in a search",
            "60, which minibatch discrimination compares",
            "`identities_per_batch`, by default all, at most `chunk` at once",
            "the recipe decides; paper-scale recipes name 60",
        ),
    )
    kind: Literal["kedmi"] = "kedmi"
    prior: SemiGAN = SemiGAN()
    warm_start: DCGAN | None = None
    identity_weight: NonNegative = 100.0
    box: Box | None = None
    search_steps: Count = 1500
    search_rate: Rate = 0.02

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def own_prior(self) -> GANConfig | None:
        """The GAN."""
        return self.prior

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> GAN:
        """Query the target with the public images, then train the GAN."""
        return self.train(target, public, score_public(target, public, run), run)

    def train(self, target: WhiteBoxTarget, public: ImageSet, soft_labels: Tensor, run: Run) -> GAN:
        """Train the GAN with the target's probabilities (len(public), num_classes) for the public images."""
        gan = self.prior.fit(run.training(public, target, self.kind), soft_labels, start=warm_start_of(run, self.name))
        return kept(gan, run)

    def invert(self, target: WhiteBoxTarget, ready: GAN, identities: Labels, run: Run) -> Found:
        """Search with the cross-entropy."""
        return self.search_by(target, ready, identities, run, cross_entropy(target))

    def search_by(
        self, target: WhiteBoxTarget, prior: GAN, identities: Labels, run: Run, identity_loss: IdentityLoss
    ) -> Found:
        """Optimise mean and log-variance of the latents with Adam, then draw `images_per_identity` samples of each.

        Loss of a sample: -log D(G(z)) + identity_weight * identity_loss, where D = sigmoid(log sum exp of the
        discriminator's logits).
        """
        prior.freeze()
        labels = identities.to(run.compute.torch_device)
        noise = initial_latents(identities, target.num_classes, self.images_per_identity, prior.latent_size, run.seed)

        def loss(distributions: Tensor, part: slice) -> Tensor:
            latents = self._latents(distributions, torch.randn_like(distributions[:, :1])).squeeze(1)
            images = prior.decode(latents, labels[part])
            realism = F.logsigmoid(realness(prior.discriminator(images).logits))
            return self.identity_weight * identity_loss(images, labels[part]) - realism

        distributions = Descent(self.kind, self.search_steps, self.search_rate, self.chunk).descend(
            standing_start(len(identities), prior.latent_size),
            loss,
            identities,
            target,
            run,
        )
        latents = self._latents(distributions, noise.to(distributions.device)).flatten(0, 1)
        return decode_found(latents, identities.repeat_interleave(self.images_per_identity), prior, target, self.chunk)

    def _latents(self, distributions: Tensor, noise: Tensor) -> Tensor:
        """Latents mean + deviation * noise (k, m, latent_size), for distributions (k, 2, latent_size)."""
        mean, log_variance = distributions[:, :1], distributions[:, 1:]
        latents = mean + (0.5 * log_variance).exp() * noise
        return latents if self.box is None else latents.clamp(*self.box)


def standing_start(identities: int, latent_size: int) -> Tensor:
    """The initial distributions (identities, 2, latent_size): means 0 and log-variances 1, as published."""
    return torch.stack([torch.zeros(latent_size), torch.ones(latent_size)]).expand(identities, -1, -1)
