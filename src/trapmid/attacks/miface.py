"""MI-FACE (Fredrikson et al., CCS 2015, Alg.

1): gradient descent on the pixels, with no prior at all, as general toolkits have it.

The variant for softmax models: no auxiliary term, no denoising between steps. Two deviations. The search descends
-log p, not 1 - p: the least is the same, but the gradient of 1 - p vanishes where a deep network is sure of somebody
else, and images stay as black as they start. And it does not also stop where the cost has not fallen for 100 steps,
which only saves steps.
"""

import math
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.search import Descent, found_of, initial_latents, within
from trapmid.config import Count, Deviation, NonNegative, PositiveShare, Rate
from trapmid.data.images import ImageSet, to_pixels
from trapmid.priors import PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels


@final
class MIFace(Effort, Attack[WhiteBoxTarget, None]):
    """`miface`: what came before generative priors; its defaults are the published constants.

    Attributes:
        start_noise: standard deviation of the noise, cut off below zero, that a search starts from. At 0, as
            published, all start from the black image and end alike.
        sure_enough: probability of the identity at which a search stops.
        search_steps: number of steps of the optimiser.
        search_rate: learning rate of the optimiser.
    """

    title: ClassVar[str] = "MI-FACE"
    paper: ClassVar[str] = "MI-FACE (Fredrikson et al., CCS 2015), Alg. 1"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "cost",
            "1 - p",
            "-log p",
            "the gradient of 1 - p vanishes where a deep network is sure of somebody else",
        ),
        Deviation(
            "no better for 100 steps",
            "the search stops",
            "it goes on",
            "saves steps only; a search ends at the published probability",
        ),
    )
    kind: Literal["miface"] = "miface"
    start_noise: NonNegative = 0.0
    sure_enough: PositiveShare = 0.99
    search_steps: Count = 5000
    search_rate: Rate = 0.1
    images_per_identity: Count = 1

    def public_prior(self) -> PriorConfig | None:
        """None."""
        return None

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> None:
        """Do nothing, because there is nothing to train."""
        del target, public, run

    def invert(self, target: WhiteBoxTarget, ready: None, identities: Labels, run: Run) -> Found:
        """Minimise the negative log-probability of the identity within [0, 1] until the target is confident enough."""
        del ready
        shape = target.image_shape
        noise = initial_latents(identities, target.num_classes, self.images_per_identity, math.prod(shape), run.seed)
        labels = identities.repeat_interleave(self.images_per_identity)
        on_device = labels.to(run.compute.torch_device)

        def loss(pixels: Tensor, part: slice) -> Tensor:
            logits = target.predict(pixels.unflatten(1, shape)).logits
            cost = F.cross_entropy(logits, on_device[part], reduction="none")
            return cost * (cost > -math.log(self.sure_enough))

        latents = Descent(self.kind, self.search_steps, self.search_rate, self.chunk).descend(
            (self.start_noise * noise).flatten(0, 1).clamp(0, 1),
            loss,
            identities,
            target,
            run,
            optimizer=torch.optim.SGD,
            project=within((0.0, 1.0)),
        )
        return found_of(to_pixels(latents.unflatten(1, shape)), labels, target, self.chunk)
