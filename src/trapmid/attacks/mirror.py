"""MIRROR (An et al., NDSS 2022), its black-box form: a genetic search over styles by the target's scores alone.

From the paper: the population of styles, selection by the target's confidence, crossover and mutation, and the clipping in P space,
where styles are nearly normal (Zhu et al. 2020). Assumed here: sizes and rates, and that a child takes each coordinate from
either parent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.search import found_of
from trapmid.attacks.styles import searchable, show_candidates, shown_candidates, style_prior
from trapmid.config import AtLeastTwo, Count, NonNegative, Positive, PositiveShare, Probability
from trapmid.data.images import ImageSet, to_pixels
from trapmid.engine import Loop, randomness
from trapmid.priors import PriorConfig, StyleGAN2, StylePrior
from trapmid.targets import ScoreTarget
from trapmid.types import Labels

FOR_THE_BOUNDS = 10_000
"""Latents whose styles tell where P space is populated."""


@final
class MIRROR(Effort, Attack[ScoreTarget, StylePrior]):
    """`mirror`: needs probabilities, no gradients, so it also attacks what is behind an ONNX file or a URL.

    Attributes:
        prior: the generator.
        candidates: random styles shown to the target once, for all identities.
        truncation: of those.
        population: styles that live on, of each picture that is searched for.
        children: per population and generation; parents live on if they are better.
        generations: how often.
        mutation: share of a child's coordinates that are moved.
        strength: standard deviation of those moves, in standard deviations of P space.
        bound: how many standard deviations from the mean of P space a coordinate may lie.
        images_per_identity: populations per identity, which share nothing; the fittest of each is a result.
    """

    title: ClassVar[str] = "MIRROR"
    paper: ClassVar[str] = "MIRROR (An et al., NDSS 2022), Sec. IV"
    kind: Literal["mirror"] = "mirror"
    prior: StyleGAN2 = StyleGAN2()
    candidates: AtLeastTwo = 5_000
    truncation: PositiveShare = 1.0
    population: AtLeastTwo = 50
    children: Count = 50
    generations: Count = 100
    mutation: Probability = 0.1
    strength: NonNegative = 0.5
    bound: Positive = 1.0

    @model_validator(mode="after")
    def _selects_from_more(self) -> "MIRROR":
        if self.images_per_identity * self.population > self.candidates:
            raise ValueError(
                f"images_per_identity={self.images_per_identity} populations of {self.population} are more than candidates={self.candidates}"
            )
        return self

    def public_prior(self) -> PriorConfig | None:
        """The StyleGAN2; the attack itself trains nothing."""
        return self.prior

    def prepare(self, target: ScoreTarget, public: ImageSet, run: Run) -> StylePrior:
        """The candidates' pictures, shown once for all identities."""
        del public
        prior = style_prior(run, self.name)
        show_candidates(prior, target, self.candidates, self.truncation, self.chunk, run)
        return prior

    def invert(self, target: ScoreTarget, ready: StylePrior, identities: Labels, run: Run) -> Found:
        """All populations of all identities breed at once."""
        generator, each, m = searchable(ready), self.images_per_identity, self.population
        space = p_space(generator, self.bound, run.seed)
        labels = identities.repeat_interleave(each).to(run.compute.torch_device)
        best = shown_candidates(run).best(identities, each * m)
        # dealt like cards, so that every population of an identity begins with some of the best
        dealt = best.unflatten(1, (m, each)).transpose(1, 2).flatten(0, 1)
        first = space.clip(dealt.to(run.compute.torch_device))
        herd = _Herd(first, self._confidence(first, labels, generator, target))

        def breed(_: int) -> Mapping[str, Tensor]:
            children = space.clip(self._children(herd, space.deviation))
            herd.survive(children, self._confidence(children, labels, generator, target))
            return {"confidence": herd.fitness[:, 0].mean()}

        name = f"search-{int(identities[0])}"
        Loop(
            f"{self.kind} {name}",
            self.generations,
            run.seed,
            run.compute,
            {"herd": herd, "target": target},
            run.folder / name,
            period=10,
            progress=run.progress,
        ).run(breed)
        with torch.no_grad():
            fittest = herd.styles[:, 0].split(self.chunk)
            pixels = torch.cat([to_pixels(generator.synthesise(part)) for part in fittest])
        return found_of(pixels, labels, target, self.chunk)

    @torch.no_grad()
    def _confidence(self, styles: Tensor, labels: Tensor, prior: StylePrior, target: ScoreTarget) -> Tensor:
        k, m, size = styles.shape
        sure = [
            target.scores(prior.synthesise(part).clamp(0, 1)).gather(1, y[:, None]).squeeze(1)
            for part, y in zip(
                styles.reshape(-1, size).split(self.chunk), labels.repeat_interleave(m).split(self.chunk), strict=True
            )
        ]
        return torch.cat(sure).view(k, m)

    def _children(self, herd: "_Herd", deviation: Tensor) -> Tensor:
        """(k, children, style_size): of two parents each, drawn by their rank, coordinates from either, some moved."""
        styles = herd.styles
        k, m, size = styles.shape
        by_rank = torch.arange(m, 0, -1, device=styles.device, dtype=styles.dtype).expand(k, m)
        drawn = torch.multinomial(by_rank, 2 * self.children, replacement=True)
        parents = styles.gather(1, drawn[:, :, None].expand(-1, -1, size)).view(k, self.children, 2, size)
        of_first = torch.rand(k, self.children, size, device=styles.device) < 0.5
        children = torch.where(of_first, parents[:, :, 0], parents[:, :, 1])
        moved = torch.rand_like(children) < self.mutation
        return to_styles(to_p(children) + moved * self.strength * deviation * torch.randn_like(children))


class _Herd:
    """The populations (n, m, style_size) with their fitness (n, m), the fittest first."""

    def __init__(self, styles: Tensor, fitness: Tensor) -> None:
        self.styles, self.fitness = styles[:, :0], fitness[:, :0]
        self.size = styles.shape[1]
        self.survive(styles, fitness)

    def survive(self, styles: Tensor, fitness: Tensor) -> None:
        """Of those that live and those that join, the fittest live on."""
        everyone, how_fit = torch.cat([self.styles, styles], 1), torch.cat([self.fitness, fitness], 1)
        self.fitness, rows = how_fit.topk(self.size, dim=1)
        self.styles = everyone.gather(1, rows[:, :, None].expand(-1, -1, everyone.shape[2]))

    def state_dict(self) -> dict[str, Any]:
        return {"styles": self.styles, "fitness": self.fitness}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        device = self.styles.device
        self.styles, self.fitness = state_dict["styles"].to(device), state_dict["fitness"].to(device)


@dataclass(frozen=True, eq=False)
class PSpace:
    """Where styles lie before the mapping network's last activation, where they are nearly normal.

    Attributes:
        low: (style_size,), the least of every coordinate.
        high: (style_size,), the most.
        deviation: (style_size,), standard deviation.
    """

    low: Tensor
    high: Tensor
    deviation: Tensor

    def clip(self, styles: Tensor) -> Tensor:
        """Styles (..., style_size), each coordinate within its bounds."""
        return to_styles(to_p(styles).clamp(self.low, self.high))


@torch.no_grad()
def p_space(prior: StylePrior, bound: float, seed: int) -> PSpace:
    """Mean and standard deviation in P space of random styles, and bounds `bound` standard deviations around the mean."""
    with randomness(seed, "P space", device=prior.device):
        p = to_p(prior.map(torch.randn(FOR_THE_BOUNDS, prior.latent_size, device=prior.device)))
    mean, deviation = p.mean(0), p.std(0)
    return PSpace(mean - bound * deviation, mean + bound * deviation, deviation)


def to_p(styles: Tensor) -> Tensor:
    """The inverse of a leaky ReLU of slope 0.2; the gain behind it scales all coordinates alike and may stay."""
    return F.leaky_relu(styles, 5.0)


def to_styles(p: Tensor) -> Tensor:
    """The inverse of `to_p`."""
    return F.leaky_relu(p, 0.2)
