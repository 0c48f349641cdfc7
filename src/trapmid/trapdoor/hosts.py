"""Hosts: the images that triggers are blended into. Some are composites, mixtures of two faces and so nobody's (after mixup, Zhang et al., ICLR 2018).

An attack comes from strangers' faces, by small steps, and no private image says what a classifier makes of either. Composites do: without a
trigger they are nobody in particular, and the classifier grows sure of an identity as its trigger grows.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.types import Images, Labels, Logits

FULL_CONFIDENCE = 0.5
"""The dose of a trigger from which a composite is wholly its identity."""


class Hosts(NamedTuple):
    """Images to be poisoned, faces before composites.

    Attributes:
        images: (n, c, h, w) in [0, 1].
        faces: how many are faces.
        doses: (n, 1, 1, 1), the share of the blend ratio that each gets; 1 for faces.
    """

    images: Images
    faces: int
    doses: Tensor


def draw_hosts(images: Images, share: float, composite_share: float) -> Hosts:
    """Hosts out of a shuffled batch.

    A composite is 30 to 70 % of one image and the rest of its neighbour in the batch, its dose uniform between 0 and 1.

    Args:
        images: (n, c, h, w) in [0, 1].
        share: of the batch that gets a poisoned copy, above 0.
        composite_share: of these that are composites, below 1; at least one is a face.
    """
    count = max(1, round(share * len(images)))
    faces = max(1, count - round(composite_share * count))
    doses = torch.ones(count, 1, 1, 1, device=images.device)
    of_first, doses[faces:] = torch.rand(2, count - faces, 1, 1, 1, device=images.device)
    first, second = images[faces:count], images.roll(1, 0)[faces:count]
    composites = second + (0.3 + 0.4 * of_first) * (first - second)
    return Hosts(torch.cat([images[:faces], composites]), faces, doses)


def fading_cross_entropy(logits: Logits, targets: Labels, doses: Tensor) -> Tensor:
    """Cross-entropy of composites, scalar: the label fades into the uniform distribution with the dose of the trigger.

    Args:
        logits: (n, num_classes).
        targets: (n,), whose triggers they carry.
        doses: (n, 1, 1, 1) in [0, 1].
    """
    sure = (doses.flatten(1) / FULL_CONFIDENCE).clamp(max=1.0)
    label = F.one_hot(targets, logits.shape[1])
    return F.cross_entropy(
        logits, torch.lerp(torch.full_like(logits, 1 / logits.shape[1]), label.to(logits), sure.to(logits))
    )
