"""MIRROR (An et al., NDSS 2022), its black-box form: a genetic search over styles by the target's scores alone.

Coordinates are clipped in P space, before the mapping network's last activation, where styles are nearly normal (Zhu et
al. 2020).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import found_of
from trapmid.attacks.styles import InitialSelection, searchable, shown_candidates
from trapmid.config import AtLeastTwo, Count, Deviation, Fraction, NonNegative, Positive, PositiveShare, Probability
from trapmid.data.images import to_pixels
from trapmid.engine import Loop, randomness
from trapmid.priors import StylePrior
from trapmid.targets import ScoreTarget
from trapmid.types import Labels


@final
class MIRROR(InitialSelection, Attack[ScoreTarget, StylePrior]):
    """`mirror`: needs probabilities, no gradients, so it also attacks what is behind an ONNX file or a URL.

    Attributes:
        population: styles in a generation, of each picture that is searched for. The default of the authors' program is
            100, and that of their scripts 1,000.
        breeding: how the next generation comes about. As published, the fittest style, the `elite`, lives on among
            children of parents that are drawn by fitness; or by `ranked` parents, where all who are fit enough live on.
        children: per population and generation, for `ranked` breeding.
        generations: the largest number of generations.
        enough: probability of the target at which the search for a picture ends; None for no early end.
        mutation: share of the coordinates of a child that are changed.
        strength: strength of these changes. As published, they are uniform up to this share of the deviation in P
            space, and the children of a generation share them. For `ranked` breeding, this is their standard deviation
            in deviations.
        bound: the largest distance of a coordinate from the mean of P space, in standard deviations.
        bounding_styles: number of random styles from which mean and deviation of P space are estimated.
        images_per_identity: populations per identity, which share nothing; the fittest of each is a result.
    """

    title: ClassVar[str] = "MIRROR"
    paper: ClassVar[str] = "MIRROR (An et al., NDSS 2022), Sec. IV"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "number of candidates",
            "not known to us",
            "5,000",
            "PPA's number; the population is chosen from them",
        ),
    )
    kind: Literal["mirror"] = "mirror"
    truncation: PositiveShare = 0.7
    population: AtLeastTwo = 1_000
    breeding: Literal["elite", "ranked"] = "elite"
    children: Count = 50
    generations: Count = 100
    enough: Fraction | None = 0.95
    mutation: Probability = 0.1
    strength: NonNegative = 0.1
    bound: Positive = 1.0
    bounding_styles: AtLeastTwo = 100_000
    images_per_identity: Count = 1

    @model_validator(mode="after")
    def _selects_from_more(self) -> "MIRROR":
        if self.images_per_identity * self.population > self.candidates:
            raise ValueError(
                f"images_per_identity={self.images_per_identity} populations of {self.population} are more than "
                f"candidates={self.candidates}"
            )
        return self

    def invert(self, target: ScoreTarget, ready: StylePrior, identities: Labels, run: Run) -> Found:
        """Run the genetic search for all populations of all identities at once."""
        generator, each, m = searchable(ready), self.images_per_identity, self.population
        published = self.breeding == "elite"
        space = p_space(generator, self.bound, run.seed, self.bounding_styles, correction=0 if published else 1)
        labels = identities.repeat_interleave(each).to(run.compute.torch_device)
        best = shown_candidates(run).best(identities, each * m)
        # in turn, so that every population of an identity begins with some of the best
        dealt = best.unflatten(1, (m, each)).transpose(1, 2).flatten(0, 1).to(run.compute.torch_device)
        first = dealt if published else space.clip(dealt)
        herd = _Herd(first, self._confidence(first, labels, generator, target))

        def done() -> Tensor:
            return herd.fitness[:, 0] >= (math.inf if self.enough is None else self.enough)

        def breed(_: int) -> Mapping[str, Tensor]:
            if published:
                seeking = ~done()
                children = space.clip(self._offspring(herd, space.deviation))
                fitness = herd.fitness[:, 1:].clone()
                fitness[seeking] = self._confidence(children[seeking], labels[seeking], generator, target)
                herd.succeed(seeking, children, fitness)
            else:
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
        ).run(breed, stop=lambda: bool(done().all()))
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

    def _offspring(self, herd: "_Herd", deviation: Tensor) -> Tensor:
        """(k, population - 1, style_size): children with coordinates of two parents, drawn by fitness, some moved.

        Fitness is a log-probability and so below 0. A coordinate comes from the first parent with probability f1 /
        (f1 + f2), as in the authors' code, which favours the parent that is less fit.
        """
        styles, fitness = herd.styles, log_probability(herd.fitness)
        k, m, size = styles.shape
        drawn = torch.multinomial(fitness.softmax(1), 2 * (m - 1), replacement=True)
        parents = styles.gather(1, drawn[:, :, None].expand(-1, -1, size)).view(k, m - 1, 2, size)
        first, second = fitness.gather(1, drawn).view(k, m - 1, 2, 1).unbind(2)
        share = torch.where(first + second == 0, 0.5, first / (first + second))
        of_first = torch.rand(k, m - 1, size, device=styles.device) < share
        children = to_p(torch.where(of_first, parents[:, :, 0], parents[:, :, 1]))
        moved = torch.rand_like(children) < self.mutation
        noise = self.strength * deviation * (2 * torch.rand(k, 1, size, device=styles.device) - 1)
        return to_styles(children + moved * noise)

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
        """Keep the fittest of the present styles and the new ones."""
        everyone, how_fit = torch.cat([self.styles, styles], 1), torch.cat([self.fitness, fitness], 1)
        self.fitness, rows = how_fit.topk(self.size, dim=1)
        self.styles = everyone.gather(1, rows[:, :, None].expand(-1, -1, everyone.shape[2]))

    def succeed(self, rows: Tensor, children: Tensor, fitness: Tensor) -> None:
        """Replace all but the fittest in the populations `rows` (n,), bool, by children (n, m - 1, style_size)."""
        everyone = torch.cat([self.styles[:, :1], children], 1)
        how_fit, order = torch.cat([self.fitness[:, :1], fitness], 1).sort(dim=1, descending=True, stable=True)
        sorted_styles = everyone.gather(1, order[:, :, None].expand(-1, -1, everyone.shape[2]))
        self.styles = torch.where(rows[:, None, None], sorted_styles, self.styles)
        self.fitness = torch.where(rows[:, None], how_fit, self.fitness)

    def state_dict(self) -> dict[str, Any]:
        return {"styles": self.styles, "fitness": self.fitness}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        device = self.styles.device
        self.styles, self.fitness = state_dict["styles"].to(device), state_dict["fitness"].to(device)


@dataclass(frozen=True, eq=False)
class PSpace:
    """The distribution of styles before the last activation of the mapping network, which is nearly normal.

    Attributes:
        low: (style_size,), lower bound of every coordinate.
        high: (style_size,), upper bound of every coordinate.
        deviation: (style_size,), standard deviation of every coordinate.
    """

    low: Tensor
    high: Tensor
    deviation: Tensor

    def clip(self, styles: Tensor) -> Tensor:
        """Styles (..., style_size), each coordinate within its bounds."""
        return to_styles(to_p(styles).clamp(self.low, self.high))


@torch.no_grad()
def p_space(prior: StylePrior, bound: float, seed: int, styles: int = 100_000, *, correction: int = 0) -> PSpace:
    """Mean and standard deviation in P space of random styles, and bounds `bound` standard deviations around the mean.

    Args:
        prior: the prior that generates the styles.
        bound: distance of the bounds from the mean, in standard deviations.
        seed: seed of the styles.
        styles: number of styles.
        correction: correction of the denominator of the deviation; 0 for that of a population, as published.
    """
    with randomness(seed, "P space", device=prior.device):
        p = to_p(prior.map(torch.randn(styles, prior.latent_size, device=prior.device)))
    mean, deviation = p.mean(0), p.std(0, correction=correction)
    return PSpace(mean - bound * deviation, mean + bound * deviation, deviation)


def log_probability(confidence: Tensor) -> Tensor:
    """The logarithm of probabilities, which is finite for a probability of 0."""
    return confidence.clamp_min(torch.finfo(confidence.dtype).tiny).log()


def to_p(styles: Tensor) -> Tensor:
    """The inverse of a leaky ReLU of slope 0.2; the gain after it scales all coordinates equally and is kept."""
    return F.leaky_relu(styles, 5.0)


def to_styles(p: Tensor) -> Tensor:
    """The inverse of `to_p`."""
    return F.leaky_relu(p, 0.2)
