"""Negative controls: judges on images that do not show the identity, and attack accuracy corrected for chance."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trapmid.engine import generator
from trapmid.trapdoor import Secrets
from trapmid.types import Images, Labels, Logits

Named = Bool[Tensor, "n classes"]
"""For each image, the classes with a judge's highest score: (n, classes). Several classes can tie."""


def named_first(scores: Logits) -> Named:
    """The classes with the highest score of each image, (n, classes)."""
    return scores >= scores.amax(1, keepdim=True)


def derangement(num_classes: int) -> Labels:
    """A permutation without fixed points, (num_classes,); the same for every model and attack.

    A single identity is mapped to itself.
    """
    order = torch.randperm(num_classes, generator=generator(0, "derangement"))
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def false_positive_rates(named: Named, labels: Labels) -> Float[Tensor, " classes"]:
    """For each class y, the share of images of other classes for which the judge names y; NaN if there are none."""
    own = torch.zeros_like(named).scatter_(1, labels[:, None], True)
    return (named & ~own).sum(0).double() / (~own).sum(0)


def corrected_accuracy(named: Named, labels: Labels) -> Float[Tensor, " classes"]:
    """Attack accuracy per class beyond the judge's false positives: (raw_y - fpr_y) / (1 - fpr_y).

    raw_y is the share of the images of class y for which the judge names y. fpr_y is the same share among the images
    that the same attack made of other classes (`false_positive_rates`). A judge that always names y yields 0 for y, a
    perfect attack keeps its 1, and random answers yield 0 on average, so single classes can be negative. Near fpr_y =
    1 the quotient is mostly noise, so values are clamped at -1; at fpr_y = 1 the value is 0. A class without images,
    or without images of other classes, is NaN.
    """
    own = torch.zeros_like(named).scatter_(1, labels[:, None], True)
    raw = (named & own).sum(0).double() / own.sum(0)
    rate = false_positive_rates(named, labels)
    corrected = torch.where(rate < 1, (raw - rate) / (1 - rate), 0.0).clamp(min=-1)
    return torch.where(raw.isnan() | rate.isnan(), torch.nan, corrected)


def disagreement(hits: Sequence[Bool[Tensor, " n"]]) -> Bool[Tensor, " n"]:
    """For each image, (n,), whether some judges recognise the right identity and others do not."""
    said = torch.stack(list(hits))
    return said.any(0) & ~said.all(0)


def triggers_alone(secrets: Secrets, image: Float[Tensor, "c h w"]) -> Images:
    """The same `image` with the trigger of each class, blended as in the defense: (num_classes, c, h, w) in [0, 1]."""
    classes = len(secrets.triggers)
    return secrets.poison(image.expand(classes, -1, -1, -1), torch.arange(classes))
