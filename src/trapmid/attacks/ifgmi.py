"""IF-GMI (Qiu et al., ECCV 2024): PPA, then a search in the generator's intermediate features, layer after layer.

From the paper: the order of layers, one search per layer that starts where the last ended, the l1 ball around a layer's
starting features, three layers beyond the styles, PPA's objective, optimiser and initial selection. Assumed here: 25 steps a
layer; radii as a share of the starting features' l1 norm; styles of the later layers move along; the picture that earlier
blocks painted stays; the final selection is PPA's.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.ppa import PPA
from trapmid.attacks.styles import searchable, show_candidates, shown_candidates, style_prior
from trapmid.config import Count, CountOrZero, NonNegative
from trapmid.data.images import ImageSet, to_pixels
from trapmid.priors import Features, PriorConfig, StylePrior
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels, Pixels, UserError


@final
class IFGMI(Attack[WhiteBoxTarget, StylePrior]):
    """`ifgmi`: reaches pictures that no style gives, and stays near those that some style does.

    Attributes:
        ppa: prior, selections, objective and the search over styles, which comes first.
        layer_steps: of Adam, for the features after one block, after two ...
        radii: of each layer's l1 ball, as a share of the l1 norm of its starting features.
        chunk: searches that are carried through all layers at once, which bounds memory.
    """

    title: ClassVar[str] = "IF-GMI"
    paper: ClassVar[str] = "IF-GMI (Qiu et al., ECCV 2024), Alg. 1"
    kind: Literal["ifgmi"] = "ifgmi"
    ppa: PPA = PPA()
    layer_steps: tuple[CountOrZero, ...] = Field((25, 25, 25), min_length=1, max_length=64)
    radii: tuple[NonNegative, ...] = Field((0.1, 0.1, 0.1), min_length=1, max_length=64)
    chunk: Count = 100

    @model_validator(mode="after")
    def _a_radius_a_layer(self) -> "IFGMI":
        if len(self.radii) != len(self.layer_steps):
            raise ValueError(f"{len(self.layer_steps)} layer_steps and {len(self.radii)} radii; expected as many")
        return self

    @property
    def effort(self) -> Effort:
        """PPA's, by this attack's chunks."""
        return self.ppa.effort.model_copy(update={"chunk": self.chunk})

    def public_prior(self) -> PriorConfig | None:
        """PPA's."""
        return self.ppa.public_prior()

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> StylePrior:
        """PPA's initial selection.

        Raises:
            UserError: the generator has fewer blocks than layers are to be searched.
        """
        del public
        prior = style_prior(run, self.name)
        if len(self.layer_steps) >= prior.blocks:
            raise UserError(
                f"{self.name} is to search {len(self.layer_steps)} layers, and a generator of {prior.blocks} blocks has {prior.blocks - 1} between two blocks. Give fewer layer_steps and radii."
            )
        show_candidates(prior, target, self.ppa.candidates, self.ppa.truncation, self.ppa.chunk, run)
        return prior

    def invert(self, target: WhiteBoxTarget, ready: StylePrior, identities: Labels, run: Run) -> Found:
        """Chunk after chunk of searches through all layers, since features are a thousand times larger than styles."""
        first = shown_candidates(run).best(identities, self.ppa.starts).flatten(0, 1)
        labels = identities.repeat_interleave(self.ppa.starts).to(run.compute.torch_device)
        pixels = [
            self._through_layers(styles, searchable(ready), y, target, run, f"search-{int(identities[0])}-{number}")
            for number, (styles, y) in enumerate(zip(first.split(self.chunk), labels.split(self.chunk), strict=True))
        ]
        return self.ppa.select(torch.cat(pixels), labels, target, run)

    def _through_layers(
        self, first: Tensor, prior: StylePrior, labels: Labels, target: WhiteBoxTarget, run: Run, folder: str
    ) -> Pixels:
        search, features = self.ppa.search, None
        styles = search(
            first, lambda points, _: prior.synthesise(points), labels, target, run, folder, self.ppa.search_steps
        )
        for blocks, (steps, radius) in enumerate(zip(self.layer_steps, self.radii, strict=True), start=1):
            with torch.no_grad():
                features = prior.features_at(styles, blocks, features)
            layer = _Layer(prior, features, radius)
            start = torch.cat([styles, features.maps.flatten(1)], 1)
            end = search(start, layer.synthesise, labels, target, run, f"{folder}-{blocks}", steps, layer.project)
            styles, maps = layer.split(end)
            features = features._replace(maps=maps)
        with torch.no_grad():
            return to_pixels(prior.synthesise(styles) if features is None else prior.from_features(features, styles))


@dataclass(frozen=True, eq=False)
class _Layer:
    """Points (m, style_size + maps) that are a style and the maps after some block, near where the maps started."""

    prior: StylePrior
    start: Features
    radius: float

    def split(self, points: Tensor) -> tuple[Tensor, Tensor]:
        size = self.prior.style_size
        return points[:, :size], points[:, size:].unflatten(1, self.start.maps.shape[1:])

    def synthesise(self, points: Tensor, part: slice) -> Images:
        styles, maps = self.split(points)
        return self.prior.from_features(Features(self.start.blocks, maps, self.start.picture[part]), styles)

    def project(self, points: Tensor) -> Tensor:
        styles, maps = self.split(points)
        centre = self.start.maps.flatten(1)
        allowed = self.radius * centre.abs().sum(1)
        return torch.cat([styles, centre + within_l1_ball(maps.flatten(1) - centre, allowed)], 1)


def within_l1_ball(x: Tensor, radius: Tensor) -> Tensor:
    """(n, d): for each row of x (n, d) the nearest point whose absolute values sum to no more than its radius (n,) (Duchi et al. 2008)."""
    size = x.abs()
    falling = size.sort(1, descending=True).values
    surplus = falling.cumsum(1) - radius[:, None]
    count = torch.arange(1, x.shape[1] + 1, device=x.device)
    last = (falling * count > surplus).sum(1, keepdim=True).clamp_min(1) - 1
    threshold = (surplus / count).gather(1, last).clamp_min(0)
    return x.sign() * (size - threshold).clamp_min(0)
