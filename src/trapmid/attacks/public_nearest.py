"""A baseline without any generator: the public images of which the target is surest. What an attack scores beyond it, its search has earned."""

from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import score_public, top_n
from trapmid.config import Count
from trapmid.data.images import ImageSet, to_unit
from trapmid.priors import Prior, PriorConfig
from trapmid.targets import LabelTarget, ScoreTarget
from trapmid.types import Images, Labels


@final
class Gallery(Prior):
    """The public images themselves, with how sure the target is of each.

    Attributes:
        pixels: (n, c, h, w), uint8.
        scores: (n, num_classes).
    """

    def __init__(self, public: ImageSet, scores: Tensor) -> None:
        self.pixels, self.scores = public.pixels, scores
        self.generator: nn.Module = nn.Identity()
        self.latent_size, self.num_classes, self.device = 1, scores.shape[1], public.pixels.device
        self.rows: list[dict[str, float]] = []

    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """A latent's place in the normal distribution is an image's place in the row."""
        del labels
        place = torch.special.ndtr(latents[:, 0]) * len(self.pixels)
        return to_unit(self.pixels[place.long().clamp(max=len(self.pixels) - 1)])

    def save(self, folder: Path) -> list[str]:
        """Write the images into `folder`; returns the file's name."""
        save_file({"pixels": self.pixels}, folder / "gallery.safetensors")
        return ["gallery.safetensors"]


@final
class PublicNearest(Attack[ScoreTarget]):
    """`public-nearest`: shows for each identity the public images that the target takes for it most surely.

    Attributes:
        images_per_identity: how many.
    """

    title: ClassVar[str] = "Public look-alikes"
    paper: ClassVar[str] = "none: the baseline that needs no generator and no gradient"
    needs: ClassVar[type[LabelTarget]] = ScoreTarget
    kind: Literal["public-nearest"] = "public-nearest"
    images_per_identity: Count = 5

    def public_prior(self) -> PriorConfig | None:
        """None."""
        return None

    def prepare(self, target: ScoreTarget, public: ImageSet, run: Run) -> Prior:
        """Show the target every public image once."""
        return Gallery(public, score_public(target, public, run))

    def invert(self, target: ScoreTarget, prior: Prior, identities: Labels, run: Run) -> Found:
        """Look up the best."""
        del target, run
        assert isinstance(prior, Gallery)
        rows = top_n(prior.scores[:, identities], self.images_per_identity)
        labels = identities.repeat_interleave(rows.shape[1])
        return Found(prior.pixels[rows.flatten()], labels, prior.scores[rows.flatten(), labels])
