"""Adversarial examples by APGD-CE, the first attack of AutoAttack, in both norms (Croce & Hein, ICML 2020, Alg. 1)."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.types import Images, Labels, logits_of

MOMENTUM, RISES = 0.75, 0.75
"""The published alpha and rho."""


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

    def within(self, x: Images, images: Images) -> Images:
        """(n, c, h, w) in [0, 1]: `x` brought into the balls around `images` and clipped."""
        change = x - images
        if self.norm == "linf":
            change = change.clamp(-self.radius, self.radius)
        else:
            change = change * (self.radius / _length(change)).clamp(max=1.0)
        return (images + change).clamp(0, 1)

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


def adversarial(
    model: nn.Module,
    images: Images,
    labels: Labels,
    ball: Ball,
    rng: torch.Generator,
    *,
    steps: int = 20,
    batch: int = 256,
) -> tuple[Images, Bool[Tensor, " n"]]:
    """The images as APGD-CE leaves them, and which of them the model names otherwise than `labels`.

    As in AutoAttack, an image that the model misnames already stays as it is, and one that it comes to misname is
    changed no further. Of the others, what is returned is the change with the largest cross-entropy. Deviation: a
    fifth of the published 100 steps.

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
        _climb(model, some, own, ball, ball.draw(some, rng), steps)
        for some, own in zip(images.split(batch), labels.split(batch), strict=True)
    ]
    found, fallen = zip(*parts, strict=True)
    return torch.cat(found), torch.cat(fallen)


def checkpoints(steps: int) -> list[int]:
    """When the step size may halve: w_j = ceil(p_j N), p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)."""
    shares = [0.0, 0.22]
    while (following := shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06)) < 1:
        shares.append(following)
    return sorted({math.ceil(round(share * steps, 6)) for share in shares[1:]})


State = tuple[Tensor, Tensor, Tensor]
"""An image each, or what it costs; its cross-entropy or whether it is misnamed; a gradient."""


def loss_gradient(model: nn.Module, x: Images, labels: Labels) -> State:
    """Cross-entropy of each image (n,), its gradient (n, c, h, w), and whether the prediction is wrong (n,)."""
    with torch.enable_grad():
        shown = x.detach().requires_grad_(True)
        logits = logits_of(model(shown)).float()
        loss = F.cross_entropy(logits, labels, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), shown)
    return loss.detach(), gradient, logits.detach().argmax(1) != labels


def _climb(
    model: nn.Module, images: Images, labels: Labels, ball: Ball, start: Tensor, steps: int
) -> tuple[Images, Bool[Tensor, " n"]]:
    found = images.clone()
    with torch.no_grad():
        fallen = logits_of(model(images)).argmax(1) != labels
    rows = torch.nonzero(~fallen).flatten()
    if not len(rows):
        return found, fallen
    images, labels = images[rows], labels[rows]
    x = ball.within(images + start[rows], images)
    loss, gradient, fooled = loss_gradient(model, x, labels)
    size = torch.full((len(rows), 1, 1, 1), 2 * ball.radius, device=images.device)
    rises, before = torch.zeros_like(loss), (size.clone(), loss.clone())
    previous, best, last = x, (x, loss, gradient), 0
    for step in range(1, steps + 1):
        found[rows[fooled]], fallen[rows[fooled]] = x[fooled], True
        keep = ~fooled
        if not bool(keep.any()):
            return found, fallen
        images, labels, rows, x, previous = images[keep], labels[keep], rows[keep], x[keep], previous[keep]
        loss, gradient, size, rises = loss[keep], gradient[keep], size[keep], rises[keep]
        best, before = (best[0][keep], best[1][keep], best[2][keep]), (before[0][keep], before[1][keep])
        pull = MOMENTUM if step > 1 else 1.0
        ascended = ball.within(x + size * ball.ascent(gradient), images)
        moved = ball.within(x + pull * (ascended - x) + (1 - pull) * (x - previous), images)
        previous, x, lower = x, moved, loss
        loss, gradient, fooled = loss_gradient(model, x, labels)
        rises = rises + (loss > lower)
        best = _choose(loss > best[1], (x, loss, gradient), best)
        if step in checkpoints(steps):
            halved = (rises < RISES * (step - last)) | ((size == before[0]).flatten() & (best[1] == before[1]))
            before, last, rises = (size, best[1]), step, torch.zeros_like(rises)
            size = torch.where(_wide(halved), size / 2, size)
            resting = halved & ~fooled
            x, loss, gradient = _choose(resting, best, (x, loss, gradient))
    fallen[rows[fooled]] = True
    found[rows] = torch.where(_wide(fooled), x, best[0])
    return found, fallen


def _length(of: Tensor) -> Tensor:
    """(n, 1, 1, 1), never zero."""
    return of.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]


def _wide(rows: Tensor) -> Tensor:
    return rows[:, None, None, None]


def _choose(rows: Tensor, these: State, those: State) -> State:
    """Per image, these where `rows` is true."""
    return (
        torch.where(_wide(rows), these[0], those[0]),
        torch.where(rows, these[1], those[1]),
        torch.where(_wide(rows), these[2], those[2]),
    )
