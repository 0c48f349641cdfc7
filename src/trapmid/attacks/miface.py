"""MI-FACE (Fredrikson et al., CCS 2015, Alg. 1): gradient descent on the pixels, with no prior at all, as general toolkits have it.

The variant for softmax models: no auxiliary term, no denoising between steps. Deviation: the published search also stops where
the cost has not fallen for 100 steps; that saves steps and changes no result but of a search that has begun to rise.
"""

from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import SearchConfig, decode_found, initial_latents, optimise
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

    paper: ClassVar[str] = "MI-FACE (Fredrikson et al., CCS 2015), Alg. 1"
    needs: ClassVar[type[LabelTarget]] = WhiteBoxTarget
    kind: Literal["miface"] = "miface"
    start_noise: float = Field(0.0, ge=0.0)
    sure_enough: float = Field(0.99, gt=0.0, le=1.0)
    images_per_identity: int = Field(1, ge=1)
    search_steps: int = Field(5000, ge=1)
    search_rate: float = 0.1

    def public_prior(self) -> PriorConfig | None:
        """None."""
        return None

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Prior:
        """Nothing to train."""
        del public, run
        return Pixels(target.image_shape, target.num_classes, target.device)

    def invert(self, target: WhiteBoxTarget, prior: Prior, identities: Labels, run: Run) -> Found:
        """Descend one minus the identity's probability, within [0, 1], until it is small enough."""
        noise = initial_latents(identities, target.num_classes, self.images_per_identity, prior.latent_size, run.seed)
        labels = identities.repeat_interleave(self.images_per_identity)
        on_device = labels.to(run.compute.target)

        def loss(pixels: Tensor, part: slice) -> Tensor:
            logits = target.predict(prior.decode(pixels, on_device[part])).logits
            cost = 1 - logits.softmax(1).gather(1, on_device[part][:, None]).squeeze(1)
            return cost * (cost > 1 - self.sure_enough)

        latents = optimise(
            (self.start_noise * noise).flatten(0, 1).clamp(0, 1),
            loss,
            steps=self.search_steps,
            rate=self.search_rate,
            run=run,
            name=f"{self.kind} search {run.cell}",
            chunk=self.chunk,
            folder=run.folder / f"search-{int(identities[0])}",
            also={"target": target},
            optimizer=torch.optim.SGD,
            box=(0.0, 1.0),
        )
        return decode_found(latents, labels, prior, target, self.chunk)
