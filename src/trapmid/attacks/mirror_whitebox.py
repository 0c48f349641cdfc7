"""MIRROR (An et al., NDSS 2022), its white-box form: gradients move styles within the populated part of P space."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.mirror import p_space
from trapmid.attacks.search import found_of, optimise
from trapmid.attacks.styles import InitialSelection, searchable, shown_candidates
from trapmid.config import (
    AtLeastTwo,
    BelowOne,
    Count,
    Deviation,
    NonNegative,
    Positive,
    PositiveShare,
    Probability,
    Rate,
)
from trapmid.data.images import to_pixels
from trapmid.priors import StylePrior
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels


@final
class MIRRORWhiteBox(InitialSelection, Attack[WhiteBoxTarget, StylePrior]):
    """`mirror-whitebox`: the defaults are the constants of the authors' code.

    Adam moves the styles of an identity's best candidates down their cross-entropy. After each step they are clipped
    in P space. The styles at which the sum over an identity's pictures was lowest are the result.

    Attributes:
        search_steps: number of steps of Adam.
        search_rate: peak learning rate of Adam. The rate rises over the first twentieth of the steps and falls over the
            last quarter.
        betas: betas of Adam.
        weight: weight of the cross-entropy.
        flip: probability that a step flips all pictures horizontally.
        bound: the largest distance of a coordinate from the mean of P space, in standard deviations.
        bounding_styles: number of random styles from which mean and deviation of P space are estimated.
        images_per_identity: number of styles that a search starts from, those of the candidates with the target's
            highest confidence.
    """

    title: ClassVar[str] = "MIRROR, white box"
    paper: ClassVar[str] = "MIRROR (An et al., NDSS 2022), Sec. III"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation("number of candidates", "not known to us", "5,000", "PPA's number"),
    )
    kind: Literal["mirror-whitebox"] = "mirror-whitebox"
    truncation: PositiveShare = 0.7
    search_steps: Count = 20_000
    search_rate: Rate = 0.25
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight: NonNegative = 10.0
    flip: Probability = 0.5
    bound: Positive = 1.0
    bounding_styles: AtLeastTwo = 100_000
    images_per_identity: Count = 8

    @model_validator(mode="after")
    def _selects_from_more(self) -> "MIRRORWhiteBox":
        if self.images_per_identity > self.candidates:
            raise ValueError(
                f"images_per_identity={self.images_per_identity} is more than candidates={self.candidates}"
            )
        return self

    def invert(self, target: WhiteBoxTarget, ready: StylePrior, identities: Labels, run: Run) -> Found:
        """Optimise the styles of all identities at once with Adam."""
        generator, each = searchable(ready), self.images_per_identity
        space = p_space(generator, self.bound, run.seed, self.bounding_styles)
        labels = identities.repeat_interleave(each).to(run.compute.torch_device)
        first = shown_candidates(run).best(identities, each).flatten(0, 1).to(run.compute.torch_device)
        lowest = Lowest(first, len(identities))

        def loss(styles: Tensor, part: slice) -> Tensor:
            images = generator.synthesise(styles)
            if torch.rand(()) < self.flip:
                images = images.flip(3)
            losses = F.cross_entropy(target.predict(images).logits, labels[part], reduction="none")
            lowest.see(styles, losses, part)
            return self.weight * losses

        def project(styles: Tensor) -> Tensor:
            lowest.compare()
            return space.clip(styles)

        name = f"search-{int(identities[0])}"
        optimise(
            first,
            loss,
            steps=self.search_steps,
            rate=self.search_rate,
            run=run,
            name=f"{self.kind} {name}",
            chunk=self.chunk,
            folder=run.folder / name,
            also={"target": target, "lowest": lowest},
            optimizer=partial(RampedAdam, betas=self.betas, steps=self.search_steps),
            project=project,
        )
        with torch.no_grad():
            pixels = torch.cat([to_pixels(generator.synthesise(part)) for part in lowest.styles.split(self.chunk)])
        return found_of(pixels, labels, target, self.chunk)


def ramp(progress: float) -> float:
    """The share of the highest rate at a share of the steps, 0 to 1 (StyleGAN2's projection, Karras et al. 2020)."""
    down = min(1.0, (1 - progress) / 0.25)
    return min(1.0, progress / 0.05) * (0.5 - 0.5 * math.cos(math.pi * down))


@final
class RampedAdam(torch.optim.Adam):
    """Adam with a learning rate that follows `ramp`. The progress is computed from Adam's own step count."""

    def __init__(self, params: Any, lr: float, *, betas: tuple[float, float], steps: int) -> None:
        super().__init__(params, lr, betas)
        self.highest, self.steps = lr, steps

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Do one step of Adam with the current rate."""
        for group in self.param_groups:
            taken = self.state[group["params"][0]].get("step", 0.0)
            group["lr"] = self.highest * ramp(float(taken) / self.steps)
        return super().step(closure)


@final
class Lowest:
    """The styles (n, style_size) at which the summed loss of each identity's pictures was lowest."""

    def __init__(self, styles: Tensor, identities: int) -> None:
        self.styles = styles.clone()
        self.losses = torch.full((identities,), torch.inf, device=styles.device)
        self._now, self._seen = torch.full((len(styles),), torch.inf, device=styles.device), styles.clone()

    def see(self, styles: Tensor, losses: Tensor, part: slice) -> None:
        """Record the losses of a part of the styles."""
        self._now[part], self._seen[part] = losses.detach(), styles.detach()

    def compare(self) -> None:
        """After all parts of a step were seen."""
        sums = self._now.view(len(self.losses), -1).sum(1)
        better = sums < self.losses
        self.losses = torch.where(better, sums, self.losses)
        rows = better.repeat_interleave(len(self.styles) // len(self.losses))
        self.styles = torch.where(rows[:, None], self._seen, self.styles)

    def state_dict(self) -> dict[str, Any]:
        """The lowest losses and their styles."""
        return {"styles": self.styles, "losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.styles = state_dict["styles"].to(self.styles)
        self.losses = state_dict["losses"].to(self.losses)
