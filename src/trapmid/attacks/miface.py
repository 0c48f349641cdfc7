"""MI-FACE (Fredrikson et al., CCS 2015, Alg. 1): gradient descent on the pixels, with no prior at all, as general toolkits have it.

The variant for softmax models: no auxiliary term, no denoising between steps. Two deviations. The search descends -log p, not
1 - p: the least is the same, but the gradient of 1 - p vanishes where a deep network is sure of somebody else, and images stay as
black as they start. And it does not also stop where the cost has not fallen for 100 steps, which only saves steps.
"""

import math
from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import SearchConfig, decode_found, initial_latents, within
from trapmid.config import Count, NonNegative, PositiveShare, Rate
from trapmid.data.images import ImageSet
from trapmid.priors import Prior, PriorConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Images, Labels


@final
class Pixels(Prior):
    """Every image there is: a latent is its pixels, in any order of magnitude."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, device: torch.device) -> None:
        self.image_shape, self.num_classes, self.device = image_shape, num_classes, device
        self.generator: nn.Module = nn.Unflatten(1, image_shape)
        self.latent_size = image_shape[0] * image_shape[1] * image_shape[2]
        self.rows: list[dict[str, float]] = []

    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Latents in [0, 1], as images."""
        del labels
        return self.generator(latents)

    def save(self, folder: Path) -> list[str]:
        """Nothing: there are no weights."""
        del folder
        return []


@final
class MIFace(SearchConfig, Attack[WhiteBoxTarget]):
    """`miface`: what came before generative priors; its defaults are the published constants.

    Attributes:
        start_noise: standard deviation of the noise, cut off below zero, that a search starts from. At 0, as published, all start
            from the black image and end alike.
        sure_enough: probability of the identity at which a search ends.
    """

    title: ClassVar[str] = "MI-FACE"
    paper: ClassVar[str] = "MI-FACE (Fredrikson et al., CCS 2015), Alg. 1"
    needs: ClassVar[type[LabelTarget]] = WhiteBoxTarget
    kind: Literal["miface"] = "miface"
    start_noise: NonNegative = 0.0
    sure_enough: PositiveShare = 0.99
    images_per_identity: Count = 1
    search_steps: Count = 5000
    search_rate: Rate = 0.1

    def public_prior(self) -> PriorConfig | None:
        """None."""
        return None

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Prior:
        """Nothing to train."""
        del public, run
        return Pixels(target.image_shape, target.num_classes, target.device)

    def invert(self, target: WhiteBoxTarget, prior: Prior, identities: Labels, run: Run) -> Found:
        """Descend the identity's negative log-probability within the box of images, until the target is sure enough."""
        noise = initial_latents(identities, target.num_classes, self.images_per_identity, prior.latent_size, run.seed)
        labels = identities.repeat_interleave(self.images_per_identity)
        on_device = labels.to(run.compute.torch_device)

        def loss(pixels: Tensor, part: slice) -> Tensor:
            logits = target.predict(prior.decode(pixels, on_device[part])).logits
            cost = F.cross_entropy(logits, on_device[part], reduction="none")
            return cost * (cost > -math.log(self.sure_enough))

        latents = self.descend(
            (self.start_noise * noise).flatten(0, 1).clamp(0, 1),
            loss,
            identities,
            target,
            run,
            optimizer=torch.optim.SGD,
            project=within((0.0, 1.0)),
        )
        return decode_found(latents, labels, prior, target, self.chunk)
