"""Small perturbations: robust accuracy under APGD-CE, and gradients that vanish."""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor, nn

from trapmid.config import Config, Count
from trapmid.engine import generator, randomness
from trapmid.metrics.adversarial import Ball, adversarial, loss_gradient
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Images, Labels, logits_of


class APGD(Config):
    """`apgd`: the first and cheapest of AutoAttack's four attacks, on a few images and with a fifth of its steps.

    A stronger attack would change more predictions, so the result is an upper bound of robust accuracy. Use it only
    to compare models.

    Attributes:
        budgets: L_inf radii in units of 1/255. An image that is misclassified at one radius also counts at larger ones.
        images: number of held-out images, drawn at random.
        steps: of each search; 100 in AutoAttack.
    """

    paper = "AutoAttack (Croce & Hein, ICML 2020), APGD-CE"
    kind: Literal["apgd"] = "apgd"
    budgets: tuple[Annotated[int, Field(ge=1, le=255)], ...] = Field((2, 8), min_length=1, max_length=8)
    images: Count = 128
    steps: Count = 20

    def stands(self, model: nn.Module, images: Images, labels: Labels) -> dict[int, Bool[Tensor, " n"]]:
        """For each budget, which of `images` (n, c, h, w) the model, in eval mode, still classifies correctly.

        On the CPU.
        """
        standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
        results = {}
        with randomness(0, "robustness", device=images.device):
            for budget in sorted(self.budgets):
                rows = torch.nonzero(standing).flatten()
                standing[rows] = withstands(model, images[rows], labels[rows], budget / 255, self.steps)
                results[budget] = standing.cpu().clone()
        return results


def withstands(model: nn.Module, images: Images, labels: Labels, radius: float, steps: int) -> Bool[Tensor, " n"]:
    """For each image, whether APGD-CE finds no misclassified image in [0, 1] within the L_inf `radius`."""
    if not len(images):
        return torch.zeros(0, dtype=torch.bool, device=images.device)
    ball, rng = Ball("apgd", "linf", radius), generator(0, "robustness", "start")
    return ~adversarial(model, images, labels, ball, rng, steps=steps)[1]


@torch.no_grad()
def without_gradient(model: nn.Module, images: Images, labels: Labels) -> Bool[Tensor, " n"]:
    """For each image, whether the loss of another class, drawn at random, has no gradient or no finite one.

    The loss is that of another class because cross-entropy at the correct class of a confident model vanishes without
    any defense. Without a gradient a white-box attack has no direction to follow, and its failure does not show
    protection.

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
            _, gradient, _ = loss_gradient(model, part, (own + shift) % classes)
            largest = gradient.flatten(1).abs().amax(1)
            parts.append((~((largest > 0) & largest.isfinite())).cpu())
    return torch.cat(parts)
