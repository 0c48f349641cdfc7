"""Plug & Play Attacks (Struppek et al., ICML 2022): a search in the styles of a StyleGAN2 that knows no target."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal, final

import torch
from pydantic import model_validator
from torch import Tensor

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import found_of, most_confident, optimise, robust_confidence
from trapmid.attacks.styles import InitialSelection, searchable, shown_candidates
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.config import BelowOne, Count, Deviation, PositiveShare, Rate
from trapmid.data.images import to_pixels
from trapmid.engine import randomness
from trapmid.priors import StylePrior
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels, Logits, Pixels


@final
class PPA(InitialSelection, Attack[WhiteBoxTarget, StylePrior]):
    """`ppa`: one public StyleGAN2 serves against every target, since the attack trains no prior.

    The defaults are the published constants. The authors use official FFHQ weights (`prior.weights`, `crop` 800). The
    search is over one style for all layers.

    Attributes:
        starts: number of styles of each identity that a search starts from, those of the candidates with the target's
            highest confidence.
        search_augmentation: augmentation during the search.
        search_steps: number of steps of Adam.
        search_rate: learning rate of Adam.
        betas: betas of Adam.
        selection_augmentation: augmentation in the final selection. It is stronger than in the search, so that the
            selection uses new information.
        selection_draws: number of random augmentations of each picture in the final selection.
        images_per_identity: number of pictures that the final selection keeps.
    """

    title: ClassVar[str] = "PPA"
    paper: ClassVar[str] = "PPA (Struppek et al., ICML 2022), Sec. 3"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "pictures of the final selection",
            "as the generator makes them",
            "as they are saved, in 8 bits",
            "what is delivered is what was chosen",
        ),
        Deviation(
            "augmentation of the targets",
            "changes of saturation and hue, too",
            "without them",
            "the augmentation is shared by all defenses and has brightness and contrast alone",
        ),
    )
    kind: Literal["ppa"] = "ppa"
    truncation: PositiveShare = 0.5
    starts: Count = 200
    search_augmentation: AnyAugmentation = KorniaAugmentation(
        crop_area=(0.9, 1.0), crop_probability=1.0, flip_probability=0.0, rotation_probability=0.0
    )
    search_steps: Count = 70
    search_rate: Rate = 0.005
    betas: tuple[BelowOne, BelowOne] = (0.1, 0.1)
    selection_augmentation: AnyAugmentation = KorniaAugmentation(
        crop_area=(0.5, 0.9), crop_ratio=(0.8, 1.2), crop_probability=1.0, rotation_probability=0.0
    )
    selection_draws: Count = 100
    images_per_identity: Count = 50

    @model_validator(mode="after")
    def _selects_from_more(self) -> "PPA":
        if not self.images_per_identity <= self.starts <= self.candidates:
            raise ValueError(
                f"images_per_identity={self.images_per_identity}, starts={self.starts}, candidates={self.candidates}: "
                "each is chosen from the next"
            )
        return self

    def invert(self, target: WhiteBoxTarget, ready: StylePrior, identities: Labels, run: Run) -> Found:
        """Optimise the styles of all identities at once with Adam, then run the final selection."""
        generator = searchable(ready)
        first = shown_candidates(run).best(identities, self.starts).flatten(0, 1)
        labels = identities.repeat_interleave(self.starts).to(run.compute.torch_device)
        styles = self.search(
            first,
            lambda points, _: generator.synthesise(points),
            labels,
            target,
            run,
            f"search-{int(identities[0])}",
            self.search_steps,
        )
        with torch.no_grad():
            pixels = torch.cat([to_pixels(generator.synthesise(part)) for part in styles.split(self.chunk)])
        return self.select(pixels, labels, target, run)

    def search(
        self,
        start: Tensor,
        synthesise: Callable[[Tensor, slice], Images],
        labels: Labels,
        target: WhiteBoxTarget,
        run: Run,
        folder: str,
        steps: int,
        project: Callable[[Tensor], Tensor] = lambda points: points,
    ) -> Tensor:
        """Minimise the Poincare distance to the label from every point in `start` (n, d), all at once.

        Args:
            start: (n, d), the starting points.
            synthesise: maps points (m, d) and their slice to images.
            labels: (n,), the identity that each image is to show.
            target: the model under attack.
            run: seed, compute, folder.
            folder: folder within `run.folder` for a checkpoint. It is also the purpose of the random stream.
            steps: number of steps of Adam.
            project: see `optimise`.

        Returns:
            (n, d).
        """
        augment = self.search_augmentation.build(target.image_shape[-1])

        def loss(points: Tensor, part: slice) -> Tensor:
            return poincare_distance(target.predict(augment(synthesise(points, part))).logits, labels[part])

        return optimise(
            start,
            loss,
            steps=steps,
            rate=self.search_rate,
            run=run,
            name=f"{self.kind} {folder}",
            chunk=self.chunk,
            folder=run.folder / folder,
            also={"target": target},
            optimizer=partial(torch.optim.Adam, betas=self.betas),
            project=project,
        )

    def select(self, pixels: Pixels, labels: Labels, target: WhiteBoxTarget, run: Run) -> Found:
        """Run the final selection on pictures (n, c, h, w), which are sorted by identity."""
        augment = self.selection_augmentation.build(target.image_shape[-1])
        with randomness(run.seed, self.kind, "final selection", int(labels[0]), device=run.compute.torch_device):
            sure = torch.cat(
                [
                    robust_confidence(part, y, target, augment, self.selection_draws)
                    for part, y in zip(pixels.split(self.chunk), labels.split(self.chunk), strict=True)
                ]
            )
        kept, of = most_confident(pixels, labels, sure, self.images_per_identity)
        return found_of(kept, of, target, self.chunk)


def poincare_distance(logits: Logits, labels: Labels) -> Tensor:
    """(n,): hyperbolic distance of the logits, at an l1 norm of 1, to the label's corner of the ball (PPA Eq. 4).

    Its gradient does not vanish as the label's probability nears 1, as that of cross-entropy does.
    """
    u = logits / logits.abs().sum(1, keepdim=True)
    v = torch.zeros_like(u).scatter_(1, labels[:, None], 1 - 1e-4)
    apart = (u - v).square().sum(1)
    room = (1 - u.square().sum(1)) * (1 - v.square().sum(1))
    return torch.acosh(1 + 2 * apart / room)
