"""A baseline without a generator: the public images with the target's highest confidence.

What an attack scores beyond it is due to its search.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.search import score_public, top_n
from trapmid.config import Count
from trapmid.data.images import ImageSet
from trapmid.priors import PriorConfig
from trapmid.targets import ScoreTarget
from trapmid.types import Labels, Pixels


@dataclass(frozen=True, eq=False)
class Gallery:
    """The public images with the target's confidence in each.

    Attributes:
        pixels: (n, c, h, w), uint8.
        scores: (n, num_classes), the target's probabilities.
    """

    pixels: Pixels
    scores: Tensor


@final
class PublicNearest(Attack[ScoreTarget, Gallery]):
    """`public-nearest`: returns for each identity the public images with the target's highest confidence.

    Attributes:
        images_per_identity: number of images per identity.
    """

    title: ClassVar[str] = "Public look-alikes"
    paper: ClassVar[str] = "none: the baseline that needs no generator and no gradient"
    searches: ClassVar[bool] = False
    kind: Literal["public-nearest"] = "public-nearest"
    images_per_identity: Count = 5

    @property
    def effort(self) -> Effort:
        """The number of images for each identity."""
        return Effort(images_per_identity=self.images_per_identity)

    def public_prior(self) -> PriorConfig | None:
        """None."""
        return None

    def prepare(self, target: ScoreTarget, public: ImageSet, run: Run) -> Gallery:
        """Query the target once with every public image."""
        return Gallery(public.pixels, score_public(target, public, run))

    def invert(self, target: ScoreTarget, ready: Gallery, identities: Labels, run: Run) -> Found:
        """Select the images with the highest confidence."""
        del target, run
        rows = top_n(ready.scores[:, identities], self.images_per_identity)
        labels = identities.repeat_interleave(rows.shape[1])
        return Found(ready.pixels[rows.flatten()], labels, ready.scores[rows.flatten(), labels])
