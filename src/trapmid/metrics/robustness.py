"""What small perturbations do to a model: robust accuracy under APGD-CE (Croce & Hein, ICML 2020, Alg. 1), and gradients that are no help."""

import math
from typing import Literal

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import Config
from trapmid.engine import generator, randomness
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Images, Labels, logits_of

MOMENTUM, RISES = 0.75, 0.75
"""The published alpha and rho."""


class APGD(Config):
    """`apgd`: the first and cheapest of AutoAttack's four attacks, on a few images and with a fifth of its steps.

    With less effort fewer images fall: what it reports is an upper bound of robust accuracy, and comparable between models only.

    Attributes:
        budgets: L_inf radii in 1/255, rising; what falls at one is not tried at the next, whose ball holds the same points.
        images: held-out images that are tried, drawn at random.
        steps: of each search; 100 in AutoAttack.
    """

    paper = "AutoAttack (Croce & Hein, ICML 2020), APGD-CE"
    kind: Literal["apgd"] = "apgd"
    budgets: tuple[int, ...] = (2, 8)
    images: int = Field(128, ge=1)
    steps: int = Field(20, ge=1)

    def stands(self, model: nn.Module, images: Images, labels: Labels) -> dict[int, Bool[Tensor, " n"]]:
        """For each budget, which of `images` (n, c, h, w) the model, in eval mode, still names rightly; on the CPU."""
        with randomness(0, "robustness", device=images.device), torch.no_grad():
            standing = torch.cat([logits_of(model(part)).argmax(1) for part in images.split(256)]) == labels
            results = {}
            for budget in sorted(self.budgets):
                rows = torch.nonzero(standing).flatten()
                for some in rows.split(256):
                    standing[some] = withstands(model, images[some], labels[some], budget / 255, self.steps)
                results[budget] = standing.cpu().clone()
        return results


def checkpoints(steps: int) -> list[int]:
    """When the step size may halve: w_j = ceil(p_j N), p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)."""
    shares = [0.0, 0.22]
    while (following := shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06)) < 1:
        shares.append(following)
    return sorted({math.ceil(round(share * steps, 6)) for share in shares[1:]})


def withstands(model: nn.Module, images: Images, labels: Labels, radius: float, steps: int) -> Bool[Tensor, " n"]:
    """Whether APGD-CE from a random start finds no image within `radius` (L_inf) and [0, 1] that the model names otherwise.

    An image that has fallen is searched no further, which changes nothing for the others.
    """
    standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
    rows = torch.arange(len(images), device=images.device)
    start = 2 * torch.rand(images.shape, generator=generator(0, "robustness", "start")) - 1
    x = _within(images + radius * start.to(images.device), images, radius)
    loss, gradient, fooled = _ask(model, x, labels)
    size = torch.full((len(images), 1, 1, 1), 2 * radius, device=images.device)
    rises, before = torch.zeros_like(loss), (size.clone(), loss.clone())
    previous, best = x, (x, loss, gradient)
    last = 0
    for step in range(1, steps + 1):
        standing[rows[fooled]] = False
        keep = ~fooled
        if not bool(keep.any()):
            break
        images, labels, rows, x, previous = images[keep], labels[keep], rows[keep], x[keep], previous[keep]
        loss, gradient, size, rises = loss[keep], gradient[keep], size[keep], rises[keep]
        best, before = (best[0][keep], best[1][keep], best[2][keep]), (before[0][keep], before[1][keep])
        pull = MOMENTUM if step > 1 else 1.0
        ascended = _within(x + size * gradient.sign(), images, radius)
        moved = _within(x + pull * (ascended - x) + (1 - pull) * (x - previous), images, radius)
        previous, x, lower = x, moved, loss
        loss, gradient, fooled = _ask(model, x, labels)
        rises = rises + (loss > lower)
        best = _choose(loss > best[1], (x, loss, gradient), best)
        if step in checkpoints(steps):
            halved = (rises < RISES * (step - last)) | ((size == before[0]).flatten() & (best[1] == before[1]))
            before, last, rises = (size, best[1]), step, torch.zeros_like(rises)
            size = torch.where(_wide(halved), size / 2, size)
            x, loss, gradient = _choose(halved, best, (x, loss, gradient))
    standing[rows[fooled]] = False
    return standing


@torch.no_grad()
def without_gradient(model: nn.Module, images: Images, labels: Labels) -> Bool[Tensor, " n"]:
    """Whether the loss of being taken for somebody else, drawn at random, has no gradient, or no finite one, at an image.

    Aimed at somebody else because cross-entropy saturates at the right identity of a sure model, which is no defense. Where this is
    true, a white-box attack searches blind and its failure shows nothing.

    Args:
        model: the classifier, in eval mode.
        images: (n, c, h, w).
        labels: their identities.
    """
    parts = []
    with randomness(0, "gradients", device=images.device):
        for part, own in zip(images.split(256), labels.split(256), strict=True):
            classes = logits_of(model(part[:1])).shape[1]
            shift = 1 + stratified_labels(len(own), max(1, classes - 1), generator(0, "gradients")).to(own.device)
            _, gradient, _ = _ask(model, part, (own + shift) % classes)
            largest = gradient.flatten(1).abs().amax(1)
            parts.append((~((largest > 0) & largest.isfinite())).cpu())
    return torch.cat(parts)


_State = tuple[Tensor, Tensor, Tensor]


def _ask(model: nn.Module, x: Images, labels: Labels) -> _State:
    """Cross-entropy of each image, its gradient, and whether the model names somebody else."""
    with torch.enable_grad():
        shown = x.detach().requires_grad_(True)
        logits = logits_of(model(shown)).float()
        loss = F.cross_entropy(logits, labels, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), shown)
    return loss.detach(), gradient, logits.detach().argmax(1) != labels


def _within(x: Images, images: Images, radius: float) -> Images:
    return torch.minimum(torch.maximum(x, images - radius), images + radius).clamp(0, 1)


def _wide(rows: Tensor) -> Tensor:
    return rows[:, None, None, None]


def _choose(rows: Tensor, these: _State, those: _State) -> _State:
    """Per image, these where `rows` is true."""
    return (
        torch.where(_wide(rows), these[0], those[0]),
        torch.where(rows, these[1], those[1]),
        torch.where(_wide(rows), these[2], those[2]),
    )
