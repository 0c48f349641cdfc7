"""GMI (Zhang et al., CVPR 2020): a search for latents of a GAN whose images the critic and the target accept."""

from functools import partial
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.gans import gan_of
from trapmid.attacks.search import (
    Box,
    Descent,
    IdentityLoss,
    cross_entropy,
    decode_found,
    initial_latents,
    within,
)
from trapmid.config import BelowOne, Count, Deviation, NonNegative, Rate
from trapmid.data.images import ImageSet
from trapmid.priors import DCGAN, GAN, PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels

PUBLISHED_BATCH = 60


@final
class GMI(Effort, Attack[WhiteBoxTarget, GAN]):
    """`gmi`: the first attack with a generative prior; the defaults are the published constants.

    The published rate of 0.02 belongs to the mean over a batch of 60 identities. Here, each latent has its own
    loss, independent of the batch, and the rate is divided by sixty. The steps are the same.

    Attributes:
        prior: the GAN, trained on public images only.
        identity_weight: weight of the cross-entropy relative to the output of the critic.
        momentum: momentum of the optimiser.
        box: lower and upper bound of every entry of a latent.
        search_steps: number of steps of the optimiser.
        search_rate: learning rate of the optimiser.
    """

    title: ClassVar[str] = "GMI"
    paper: ClassVar[str] = "GMI (Zhang et al., CVPR 2020), Eq. 1-3"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "rate",
            "0.02 for the mean over a batch of 60 identities",
            "a sixtieth of it for each latent's own loss: the same steps",
            "what is found for an identity does not depend on who is searched beside it",
        ),
    )
    kind: Literal["gmi"] = "gmi"
    prior: DCGAN = DCGAN()
    identity_weight: NonNegative = 100.0
    momentum: BelowOne = 0.9
    box: Box = (-1.0, 1.0)
    search_steps: Count = 1500
    search_rate: Rate = 0.02 / PUBLISHED_BATCH

    def public_prior(self) -> PriorConfig | None:
        """The GAN."""
        return self.prior

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> GAN:
        """Return the GAN, which is trained without a target."""
        del target, public
        return gan_of(run, self.name)

    def invert(self, target: WhiteBoxTarget, ready: GAN, identities: Labels, run: Run) -> Found:
        """Search with the cross-entropy."""
        return self.search_by(target, ready, identities, run, cross_entropy(target))

    def search_by(
        self, target: WhiteBoxTarget, prior: GAN, identities: Labels, run: Run, identity_loss: IdentityLoss
    ) -> Found:
        """Minimise -D(G(z)) + identity_weight * identity_loss from all starting points at once.

        The authors' update, v' = m v - r g, z' = z - m v + (1 + m) v', is torch's form of Nesterov momentum.
        """
        prior.freeze()
        first = initial_latents(
            identities, target.num_classes, self.images_per_identity, prior.latent_size, run.seed
        ).flatten(0, 1)
        labels = identities.repeat_interleave(self.images_per_identity)
        on_device = labels.to(run.compute.torch_device)

        def loss(latents: Tensor, part: slice) -> Tensor:
            images = prior.decode(latents, on_device[part])
            return self.identity_weight * identity_loss(images, on_device[part]) - prior.discriminator(images)

        latents = Descent(self.kind, self.search_steps, self.search_rate, self.chunk).descend(
            first,
            loss,
            identities,
            target,
            run,
            optimizer=partial(torch.optim.SGD, momentum=self.momentum, nesterov=True),
            project=within(self.box),
        )
        return decode_found(latents, labels, prior, target, self.chunk)
