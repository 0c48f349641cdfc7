"""An attack: the average of the public images for which the target is most confident."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from trapmid.attacks import Attack, Effort, Found, Run
from trapmid.config import Count
from trapmid.data import ImageSet
from trapmid.targets import ScoreTarget
from trapmid.types import Labels


class PublicMean(Attack[ScoreTarget, Tensor]):
    """`public-mean`: averages the public images of which the target is most confident.

    It needs scores and no gradients.

    Attributes:
        images: how many public images are averaged for each identity.
    """

    title: ClassVar[str] = "Mean of look-alikes"
    paper: ClassVar[str] = "trapmid's example of a plugin"
    searches: ClassVar[bool] = False
    kind: Literal["public-mean"] = "public-mean"
    images: Count = 8

    @property
    def effort(self) -> Effort:
        """One picture of each identity, all identities at once."""
        return Effort(images_per_identity=1)

    def public_prior(self) -> None:
        """No generator is searched."""

    def prepare(self, target: ScoreTarget, public: ImageSet, run: Run) -> Tensor:
        """The mean image of each identity: (num_classes, c, h, w), uint8."""
        del run
        device = target.device
        scores = torch.cat([target.scores(images.to(device)).cpu() for images in public.images().split(256)])
        chosen = scores.topk(min(self.images, len(scores)), dim=0).indices.T
        return public.pixels[chosen].float().mean(1).round().byte()

    def invert(self, target: ScoreTarget, ready: Tensor, identities: Labels, run: Run) -> Found:
        """The mean images of these identities, and the target's confidence in them."""
        del run
        pixels = ready[identities]
        scores = target.scores((pixels.float() / 255).to(target.device)).cpu()
        return Found(pixels, identities, scores.gather(1, identities[:, None]).squeeze(1))
