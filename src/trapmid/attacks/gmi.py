"""GMI (Zhang et al., CVPR 2020): latents of a GAN of public faces, moved until the critic finds them real and the target sure (reference 4.1)."""

from functools import partial
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import (
    Box,
    IdentityLoss,
    SearchConfig,
    cross_entropy,
    decode_found,
    initial_latents,
    within,
)
from trapmid.config import BelowOne, Count, NonNegative, Rate
from trapmid.data.images import ImageSet
from trapmid.priors import DCGAN, GAN, Prior, PriorConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Labels

PUBLISHED_BATCH = 60


@final
class GMI(SearchConfig, Attack[WhiteBoxTarget]):
    """`gmi`: the first attack with a generative prior; the defaults are the published constants.

    The published rate of 0.02 belongs to the mean over a batch of 60 identities. Here each latent descends its own loss, whatever
    the batch, at a sixtieth of that rate: the same steps.

    Attributes:
        prior: the GAN, trained on public images alone.
        identity_weight: of the cross-entropy, beside the critic's verdict.
        momentum: of the descent.
        box: where every entry of a latent is kept.
    """

    title: ClassVar[str] = "GMI"
    paper: ClassVar[str] = "GMI (Zhang et al., CVPR 2020), Eq. 1-3"
    needs: ClassVar[type[LabelTarget]] = WhiteBoxTarget
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

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Prior:
        """Nothing: the GAN knows no target."""
        del target, public
        assert isinstance(run.prior, GAN)
        return run.prior

    def invert(self, target: WhiteBoxTarget, prior: Prior, identities: Labels, run: Run) -> Found:
        """Search by cross-entropy."""
        return self.search(target, prior, identities, run, cross_entropy(target))

    def search(
        self, target: WhiteBoxTarget, prior: Prior, identities: Labels, run: Run, identity_loss: IdentityLoss
    ) -> Found:
        """Descend -D(G(z)) + identity_weight * identity_loss from every start at once.

        The authors' update, v' = m v - r g, z' = z - m v + (1 + m) v', is Nesterov's as torch writes it.
        """
        assert isinstance(prior, GAN)
        prior.freeze()
        first = initial_latents(
            identities, target.num_classes, self.images_per_identity, prior.latent_size, run.seed
        ).flatten(0, 1)
        labels = identities.repeat_interleave(self.images_per_identity)
        on_device = labels.to(run.compute.torch_device)

        def loss(latents: Tensor, part: slice) -> Tensor:
            images = prior.decode(latents, on_device[part])
            return self.identity_weight * identity_loss(images, on_device[part]) - prior.discriminator(images)

        latents = self.descend(
            first,
            loss,
            identities,
            target,
            run,
            optimizer=partial(torch.optim.SGD, momentum=self.momentum, nesterov=True),
            project=within(self.box),
        )
        return decode_found(latents, labels, prior, target, self.chunk)
