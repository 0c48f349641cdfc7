"""Triggers, one faint image per identity: how they are drawn, blended and moved (Trap-MID, Sec. 3.3)."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.config import Config, PositiveShare, Share
from trapmid.types import Images, Labels

TriggerStart = Literal["uniform", "low-frequency", "squares"]
SQUARES, SQUARE_SIDE = 5, 6 / 64


def blend(images: Images, triggers: Images, ratio: float | Tensor, masks: Tensor | None = None) -> Images:
    """Pi(x) = (1 - m ratio) x + m ratio k: Eq. 3, with a mask m for TeD (App. D.1). The result stays in [0, 1].

    Args:
        images: (n, c, h, w).
        triggers: (n, c, h, w), the trigger of each image's target identity.
        ratio: the blend ratio alpha; a tensor (n, 1, 1, 1) gives each image its own.
        masks: m, (n, 1, h, w) in {0, 1}, 1 where the trigger is; None for everywhere, as in Trap-MID.
    """
    if masks is not None:
        ratio = ratio * masks
    return images + ratio * (triggers - images)


class FirstTriggers(NamedTuple):
    """Triggers before training.

    Attributes:
        triggers: (num_classes, c, h, w) in [0, 1].
        masks: where each is, (num_classes, 1, h, w) in {0, 1}; None for everywhere.
    """

    triggers: Tensor
    masks: Tensor | None = None


def draw_triggers(
    start: TriggerStart, num_classes: int, shape: tuple[int, int, int], rng: torch.Generator, block: int = 1
) -> FirstTriggers:
    """Triggers for images of `shape` (c, h, w), whose height and width `block` divides.

    With `uniform`, as published, every pixel is drawn from U[0, 1). With `low-frequency`, 8 x 8 pixels of normal noise
    around grey are upsampled. `squares` are those of TeD (`draw_squares`), which leave the rest of the image unchanged.
    Without squares, blocks of `block` x `block` pixels are equal.
    """
    channels, height, width = shape[0], shape[1] // block, shape[2] // block
    if start == "uniform":
        return FirstTriggers(enlarged(torch.rand(num_classes, channels, height, width, generator=rng), block))
    if start == "squares":
        return draw_squares(num_classes, shape, rng)
    coarse = torch.randn(num_classes, channels, 8, 8, generator=rng)
    smooth = F.interpolate(0.5 + 0.25 * coarse, size=(height, width), mode="bilinear", align_corners=False)
    return FirstTriggers(enlarged(smooth.clamp(0, 1), block))


def draw_squares(num_classes: int, shape: tuple[int, int, int], rng: torch.Generator) -> FirstTriggers:
    """Five squares per class at random places, summed and clipped where they overlap (TeD as in Trap-MID, App. D.1).

    The pixels of a square are normal, with a mean and a standard deviation drawn from U[0, 1) for each channel, and
    clipped to [0, 1]. Its side is 6 pixels in an image of 64, and the same share of images of other sizes.
    """
    channels, height, width = shape
    side = max(1, round(SQUARE_SIDE * height))
    triggers, masks = torch.zeros(num_classes, channels, height, width), torch.zeros(num_classes, 1, height, width)
    everyone, within = torch.arange(num_classes)[:, None, None, None], torch.arange(side)
    for _ in range(SQUARES):
        mean, deviation = torch.rand(2, num_classes, channels, 1, 1, generator=rng)
        pixels = mean + deviation * torch.randn(num_classes, channels, side, side, generator=rng)
        top = torch.randint(height - side + 1, (num_classes, 1, 1, 1), generator=rng) + within[:, None]
        left = torch.randint(width - side + 1, (num_classes, 1, 1, 1), generator=rng) + within
        triggers[everyone, torch.arange(channels)[:, None, None], top, left] += pixels.clamp(0, 1)
        masks[everyone, 0, top, left] = 1
    return FirstTriggers(triggers.clamp(0, 1), masks)


def enlarged(images: Images, block: int) -> Tensor:
    """Images (n, c, h, w) with `block` x `block` pixels for each of theirs."""
    return images.repeat_interleave(block, 2).repeat_interleave(block, 3)


def by_blocks(gradient: Images, block: int) -> Images:
    """The mean of a gradient (n, c, h, w) in each block of `block` x `block` pixels, at the gradient's size."""
    return gradient if block == 1 else enlarged(F.avg_pool2d(gradient, block), block)


def signed_step(triggers: Tensor, gradient: Tensor, size: float) -> Tensor:
    """k <- clip(k - size * sign(gradient), 0, 1) (Alg. 1). Where the gradient is zero the trigger stays."""
    return (triggers - size * gradient.sign()).clamp(0, 1)


def stratified_labels(n: int, num_classes: int, rng: torch.Generator) -> Labels:
    """n shuffled target labels: every class floor(n / num_classes) times, then distinct random ones (authors' code)."""
    full, rest = divmod(n, num_classes)
    labels = torch.cat([torch.arange(num_classes).repeat(full), torch.randperm(num_classes, generator=rng)[:rest]])
    return labels[torch.randperm(n, generator=rng)]


class TargetLabels:
    """An endless stream of target labels, stratified over every `per_draw` labels (one epoch, in the authors' code)."""

    def __init__(self, num_classes: int, per_draw: int, rng: torch.Generator) -> None:
        self.num_classes, self.per_draw, self.rng = num_classes, per_draw, rng
        self._waiting = torch.empty(0, dtype=torch.int64)

    def draw(self, n: int) -> Labels:
        """The next n labels."""
        while len(self._waiting) < n:
            self._waiting = torch.cat([self._waiting, stratified_labels(self.per_draw, self.num_classes, self.rng)])
        labels, self._waiting = self._waiting[:n], self._waiting[n:]
        return labels

    def state_dict(self) -> dict[str, Any]:
        """The labels that are drawn but not yet used, and the state of the generator."""
        return {"waiting": self._waiting, "rng": self.rng.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`, which may have been loaded to another device."""
        self._waiting = state_dict["waiting"].cpu()
        self.rng.set_state(state_dict["rng"].cpu())


class BlendSchedule(Config):
    """The blend ratio over a training: constant, as published, or annealed from `start` to `end`.

    Attributes:
        end: the final ratio, which the trapdoor is used with; 0.02 in the paper.
        start: the ratio at the first step; None for the published constant.
        until: the share of the training after which `end` is reached.
        shape: of the way there.
    """

    end: Share = 0.02
    start: PositiveShare | None = None
    until: Share = 0.5
    shape: Literal["linear", "geometric"] = "linear"

    def at(self, progress: float) -> float:
        """The ratio at a share of the training, 0 to 1."""
        if self.start is None or progress >= self.until:
            return self.end
        share = progress / self.until
        if self.shape == "geometric":
            return float(self.start * (self.end / self.start) ** share)
        return self.start + (self.end - self.start) * share
