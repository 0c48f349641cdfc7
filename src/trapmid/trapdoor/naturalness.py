"""The naturalness discriminator, which distinguishes clean from poisoned images (Trap-MID, Eq. 4 and 5)."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.modes import evaluating
from trapmid.trapdoor.guard import check_logits
from trapmid.types import Images, Prediction, UserError, logits_of


class TwinDiscriminator(nn.Module):
    """A copy of the classifier with its current weights, and a linear layer that reduces its logits to one.

    The authors build the classifier's architecture with one output. This is not possible for external networks.
    """

    def __init__(self, classifier: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.body = copy.deepcopy(classifier)
        self.head = nn.Linear(num_classes, 1)

    def forward(self, images: Images) -> Tensor:
        """Logits (n, 1), which are higher for more natural images."""
        logits = logits_of(self.body(images))
        check_logits(logits, self.head.in_features)
        return self.head(logits)


class FeatureCritic(nn.Module):
    """Two linear layers on a classifier's features and one-hot prediction (authors' code; off in the paper)."""

    def __init__(self, features: int, num_classes: int, width: int | None) -> None:
        super().__init__()
        self.num_classes = num_classes
        width = width or features + num_classes
        self.layers = nn.Sequential(nn.Linear(features + num_classes, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, prediction: Prediction) -> Tensor:
        """Logits (n, 1), which are higher for more natural images."""
        answer = F.one_hot(prediction.logits.argmax(1), self.num_classes).to(prediction.features)
        return self.layers(torch.cat([prediction.features, answer], 1))


def optimizer_like(optimizer: torch.optim.Optimizer, module: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of the same class and with the same defaults for another module.

    Raises:
        UserError: the optimizer is a wrapper around another optimizer.
    """
    accepted = inspect.signature(type(optimizer)).parameters
    if "params" not in accepted:
        raise UserError(
            f"{type(optimizer).__name__} wraps an optimizer, and the discriminator needs one of the same kind of its "
            "own. "
            "Pass the torch optimizer inside, which Accelerate and Lightning keep as `optimizer.optimizer`."
        )
    defaults = {name: value for name, value in optimizer.defaults.items() if name in accepted}
    return type(optimizer)(module.parameters(), **defaults)


def discriminator_loss(logits: Tensor) -> Tensor:
    """Binary cross-entropy (Eq. 4) of logits (2n, 1), of n clean images (target 1) and n poisoned ones (0)."""
    benign, poisoned = logits.chunk(2)
    return 0.5 * (F.softplus(-benign).mean() + F.softplus(poisoned).mean())


def naturalness_loss(logits: Tensor) -> Tensor:
    """-log D(Pi(x)) of Eq. 5, mean over the logits of poisoned images: low if they are classified as clean."""
    return F.softplus(-logits).mean()


def indecision_loss(logits: Tensor) -> Tensor:
    """Mean binary cross-entropy to a target of 0.5, which is lowest if the discriminator is undecided."""
    return 0.5 * (F.softplus(-logits) + F.softplus(logits)).mean()


def discriminator_accuracy(logits: Tensor) -> Tensor:
    """Share of the logits (2n, 1) with the correct sign. At 0.5, the triggers are perfectly natural."""
    benign, poisoned = logits.chunk(2)
    return 0.5 * ((benign > 0).float().mean() + (poisoned <= 0).float().mean())


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """A context in which modules are in eval mode and only gradients of inputs are computed, not of weights."""
    wanted = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    with evaluating(*modules):
        try:
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)
