"""The discriminator that keeps triggers natural: it tells benign images from poisoned ones (Trap-MID Eq. 4 and 5)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.modes import evaluating
from trapmid.types import Images, Prediction, logits_of


class TwinDiscriminator(nn.Module):
    """The classifier's architecture and present weights with one logit: a copy whose logits are mixed into one.

    The paper builds the target's class with one output; for a network we did not build, a linear layer on top does the same.
    """

    def __init__(self, classifier: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.body = copy.deepcopy(classifier)
        self.head = nn.Linear(num_classes, 1)

    def forward(self, images: Images) -> Tensor:
        """(n, 1): higher is more benign."""
        return self.head(logits_of(self.body(images)))


class FeatureCritic(nn.Module):
    """Two layers on a classifier's features and the one-hot of its answer (reference 2.2)."""

    def __init__(self, features: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.layers = nn.Sequential(nn.Linear(features + num_classes, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, prediction: Prediction) -> Tensor:
        """(n, 1): higher is more benign."""
        answer = F.one_hot(prediction.logits.argmax(1), self.num_classes).to(prediction.features)
        return self.layers(torch.cat([prediction.features, answer], 1))


def discriminator_loss(logits: Tensor) -> Tensor:
    """Binary cross-entropy over 2n logits (2n, 1): the first half benign (target 1), the second poisoned (target 0) (Eq. 4)."""
    benign, poisoned = logits.chunk(2)
    return 0.5 * (F.softplus(-benign).mean() + F.softplus(poisoned).mean())


def naturalness_loss(logits: Tensor) -> Tensor:
    """-log D(Pi(x)), mean over the logits of poisoned images: low where the discriminator takes them for benign (Eq. 5)."""
    return F.softplus(-logits).mean()


def discriminator_accuracy(logits: Tensor) -> Tensor:
    """Share of the 2n logits on the right side of zero: 0.5 means perfectly natural triggers."""
    benign, poisoned = logits.chunk(2)
    return 0.5 * ((benign > 0).float().mean() + (poisoned <= 0).float().mean())


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules are in eval mode and their weights take no gradient, so that a gradient to the input costs no more than it must."""
    wanted = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    with evaluating(*modules):
        try:
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)
