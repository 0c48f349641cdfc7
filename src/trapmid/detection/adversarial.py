"""Adversarial examples for the detector to be tried on: projected gradient descent (Madry et al., ICLR 2018) in the balls of Trap-MID's Figure 3."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.types import Images, Labels, logits_of


class Ball(NamedTuple):
    """What an adversarial example may change.

    Attributes:
        name: of its rows in the scores.
        norm: by which a change of the whole image is measured.
        radius: the largest change, for pixels in [0, 1].
    """

    name: str
    norm: Literal["linf", "l2"]
    radius: float

    def project(self, change: Tensor) -> Tensor:
        """The nearest allowed change, for each of (n, c, h, w)."""
        if self.norm == "linf":
            return change.clamp(-self.radius, self.radius)
        return change * (self.radius / _length(change)).clamp(max=1.0)

    def ascent(self, gradient: Tensor) -> Tensor:
        """The change of size one that the gradient (n, c, h, w) makes the most of."""
        return gradient.sign() if self.norm == "linf" else gradient / _length(gradient)

    def draw(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """A change drawn from all of the ball, of the shape and on the device of `like`."""
        if self.norm == "linf":
            drawn = 2 * torch.rand(like.shape, generator=rng) - 1
        else:
            direction = torch.randn(like.shape, generator=rng)
            reach = torch.rand(len(like), 1, 1, 1, generator=rng) ** (1 / math.prod(like.shape[1:]))
            drawn = direction / _length(direction) * reach
        return self.radius * drawn.to(like.device)


BALLS = (Ball("pgd-linf", "linf", 8 / 255), Ball("pgd-l2", "l2", 0.5))
"""Figure 3's."""


def adversarial(
    model: nn.Module,
    images: Images,
    labels: Labels,
    ball: Ball,
    rng: torch.Generator,
    *,
    steps: int = 20,
    batch: int = 64,
) -> Images:
    """(n, c, h, w): images in [0, 1] within `ball` of `images` that the model should not take for `labels`.

    Steps of 2.5 radius / steps up the cross-entropy from a random start; of each image the iterate with the largest loss is kept. As with
    AutoAttack, an image that the model takes for somebody else already stays as it is (Figure 3 counts such ones, too).
    Deviation: AutoAttack's four attacks take minutes where this takes seconds; its first, APGD on the same loss, was enough to bring
    the paper's model to 0 % (reference 5).

    Args:
        model: in eval mode; its weights get no gradients.
        images: (n, c, h, w) in [0, 1].
        labels: (n,), whom they show.
        ball: what may change.
        rng: draws the starts, on the CPU.
        steps: of the ascent.
        batch: images at once.
    """
    parts = [
        _ascend(model, some, some_labels, ball, rng, steps)
        for some, some_labels in zip(images.split(batch), labels.split(batch), strict=True)
    ]
    return torch.cat(parts)


def _ascend(model: nn.Module, images: Images, labels: Labels, ball: Ball, rng: torch.Generator, steps: int) -> Images:
    def within(change: Tensor) -> Tensor:
        return (images + ball.project(change)).clamp(0, 1) - images

    change, best = within(ball.draw(images, rng)), torch.zeros_like(images)
    most = torch.full((len(images),), -math.inf, device=images.device)
    for step in range(steps + 1):
        change.requires_grad_()
        with torch.enable_grad():
            losses = F.cross_entropy(logits_of(model(images + change)).float(), labels, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), change)
        change, better = change.detach(), losses.detach() > most
        best = torch.where(better[:, None, None, None], change, best)
        most = torch.maximum(most, losses.detach())
        if step < steps:
            change = within(change + 2.5 * ball.radius / steps * ball.ascent(gradient))
    with torch.no_grad():
        right = logits_of(model(images)).argmax(1) == labels
    return torch.where(right[:, None, None, None], (images + best).clamp(0, 1), images)


def _length(of: Tensor) -> Tensor:
    """(n, 1, 1, 1), never zero."""
    return of.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]
