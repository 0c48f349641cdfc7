"""AT-AT (ICLR 2026): a classifier that takes adversarial images for other people.

So attacks find none of its own.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.config import CountOrZero, Deviation, NonNegative, Positive
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense
from trapmid.defenses.runs import DefenseRun
from trapmid.trapdoor.guard import check_logits
from trapmid.types import Images, Labels, prediction_of


@final
class ATAT(Defense):
    """`atat`: anti-adversarial training. The defaults are those of the authors' one configuration.

    The loss of a batch has an additional term with a small weight: the cross-entropy of adversarial copies of images to
    the identity that each copy was made for. This reduces robustness. The identities are random, but differ from the
    image's own. A copy is computed by projected gradient descent on the current classifier in train mode, so that the
    batch norm statistics include all of its steps. Each step costs one additional forward and backward pass of the
    classifier, and the copies cost one more.

    Attributes:
        weight: weight of the adversarial copies.
        radius: the largest change of a pixel, for pixels in [0, 1]. The authors' 0.0005 is for pixels in [-1, 1].
        step: step size of the search for a copy, for pixels in [0, 1]; the authors' 0.0001 is for pixels in [-1, 1].
        steps: number of steps of that search. It starts at a random point within the radius.
    """

    title = "AT-AT"
    paper = "AT-AT (ICLR 2026), authors' code"
    deviations = (
        Deviation(
            "reduction of the losses",
            "sum over a batch",
            "mean",
            "the same steps under Adam, whose step does not depend on the scale of a loss; usual step sizes under SGD",
        ),
        Deviation(
            "chosen epoch",
            "lowest loss on a fifth of the images, evaluated every five epochs",
            "as the recipe says, for every defense",
            "otherwise, a comparison of defenses would also compare ways to choose an epoch",
        ),
    )
    kind: Literal["atat"] = "atat"
    weight: NonNegative = 0.08
    radius: Positive = 0.00025
    step: Positive = 0.00005
    steps: CountOrZero = 5

    def changes(self) -> Changes:
        """Losses of adversarial copies."""
        return Changes(run=partial(AntiAdversarialRun, self))


@final
class AntiAdversarialRun(DefenseRun):
    """One training with adversarial copies."""

    def __init__(self, config: ATAT, context: TrainingContext) -> None:
        super().__init__(context)
        self.config = config

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The objective of augmented images, and the weighted cross-entropy of their copies in a separate pass."""
        context = self.context
        shown = context.augment(images)
        aims = other_labels(labels, context.images.num_classes)
        copies = self.copies(shown, aims)
        prediction = prediction_of(context.model(shown))
        check_logits(prediction.logits, context.images.num_classes)
        losses = context.objective(epoch).of(prediction, shown, labels)
        told = prediction_of(context.model(copies)).logits
        losses["adversarial"] = self.config.weight * F.cross_entropy(told, aims)
        right = prediction.logits.argmax(1) == labels
        return losses, {
            "accuracy_in_batch": right.float().mean(),
            "adversarial_success_in_batch": (told.argmax(1) == aims).float().mean(),
        }

    def copies(self, images: Images, aims: Labels) -> Images:
        """Images (n, c, h, w) near the given ones that the classifier classifies as `aims` (n,), or nearly so."""
        radius, start = self.config.radius, images.detach()
        moved = (start + radius * (2 * torch.rand_like(start) - 1)).clamp(0, 1)
        for _ in range(self.config.steps):
            moved = moved.requires_grad_()
            loss = F.cross_entropy(prediction_of(self.context.model(moved)).logits, aims)
            (gradient,) = torch.autograd.grad(loss, moved)
            moved = moved.detach() - self.config.step * gradient.sign()
            moved = torch.minimum(torch.maximum(moved, start - radius), start + radius).clamp(0, 1)
        return moved.detach()


def other_labels(labels: Labels, num_classes: int) -> Labels:
    """A random class for each label (n,). If it equals the label, the next class is used."""
    drawn = torch.randint(num_classes, labels.shape, device=labels.device)
    return torch.where(drawn == labels, (labels + 1) % num_classes, drawn)
