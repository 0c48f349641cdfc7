"""Negative controls: what a judge says about images that show no private person, and attack accuracy corrected for it."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trapmid.engine import generator
from trapmid.trapdoor import Secrets
from trapmid.types import Images, Labels, Logits

Named = Bool[Tensor, "n classes"]
"""Whom a judge names first, for each image; several where they are alike to it."""


def named_first(scores: Logits) -> Named:
    """Which identities get the highest score, (n, classes)."""
    return scores >= scores.amax(1, keepdim=True)


def derangement(num_classes: int) -> Labels:
    """(num_classes,): a permutation that gives every identity another one; the same for every model and attack.

    With a single identity there is no other, so it keeps its own.
    """
    order = torch.randperm(num_classes, generator=generator(0, "derangement"))
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def false_positive_rates(named: Named, labels: Labels) -> Float[Tensor, " classes"]:
    """Per class y, the share of the images that are meant to show others for which the judge names y; not a number without others."""
    own = torch.zeros_like(named).scatter_(1, labels[:, None], True)
    return (named & ~own).sum(0).double() / (~own).sum(0)


def corrected_accuracy(named: Named, labels: Labels) -> Float[Tensor, " classes"]:
    """Attack accuracy per class beyond the judge's false positives: (raw_y - fpr_y) / (1 - fpr_y).

    raw_y is the share of the images meant for y for which the judge names y, fpr_y that of the images which the same attack made
    for others (`false_positive_rates`). A judge that names y whatever it is shown gives y nothing, a perfect attack keeps its 1,
    and names drawn at random come to 0 on average; single classes may lie below. Where fpr_y is near 1 the quotient is all noise, so
    that it is held above -1; where it is 1 the corrected value is 0. A class without images, or without others', has no number.
    """
    own = torch.zeros_like(named).scatter_(1, labels[:, None], True)
    raw = (named & own).sum(0).double() / own.sum(0)
    rate = false_positive_rates(named, labels)
    corrected = torch.where(rate < 1, (raw - rate) / (1 - rate), 0.0).clamp(min=-1)
    return torch.where(raw.isnan() | rate.isnan(), torch.nan, corrected)


def disagreement(hits: Sequence[Bool[Tensor, " n"]]) -> Bool[Tensor, " n"]:
    """(n,): whether some judges recognise the right identity in an image and others do not."""
    said = torch.stack(list(hits))
    return said.any(0) & ~said.all(0)


def triggers_alone(secrets: Secrets, image: Float[Tensor, "c h w"]) -> Images:
    """(num_classes, c, h, w): every class's trigger in one and the same `image`, as faint as it is in the defense."""
    classes = len(secrets.triggers)
    return secrets.poison(image.expand(classes, -1, -1, -1), torch.arange(classes))
