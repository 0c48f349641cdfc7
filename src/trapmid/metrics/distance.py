"""Distances of images to private ones in a feature space: to those of their identity, and compared with public ones."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trapmid.types import Features, Labels

_AT_A_TIME = 256
_TO_THE_LAST_DIGIT = "donot_use_mm_for_euclid_dist"


def nearest_of_identity(
    features: Features, labels: Labels, reference: Float[Tensor, "m features"], reference_labels: Int64[Tensor, " m"]
) -> Tensor:
    """(n,): squared Euclidean distance to the nearest reference image of the same identity.

    Infinite where there is none.

    Trap-MID (Liu & Chen, NeurIPS 2024) calls it an l2 distance, but its code squares it. The published values around
    1,200 are squared, so these are, too.
    """
    nearest = torch.full((len(features),), torch.inf)
    for rows in labels.argsort(stable=True).split(_AT_A_TIME):
        # in the order of identities a part meets few of them, and all pairs of two sets would not fit
        among = (reference_labels >= labels[rows[0]]) & (reference_labels <= labels[rows[-1]])
        if bool(among.any()):
            squared = torch.cdist(features[rows], reference[among], compute_mode=_TO_THE_LAST_DIGIT).square()
            other = labels[rows][:, None] != reference_labels[among][None, :]
            nearest[rows] = squared.masked_fill(other, torch.inf).amin(1)
    return nearest


def nearer_to_private(
    features: Features, private: Float[Tensor, "m features"], public: Float[Tensor, "k features"]
) -> Bool[Tensor, " n"]:
    """Whether the nearest of all private and public images is a private one (Trap-MID, Table 3).

    The paper's two sets are of one size, some 30,000 images each. Give sets of one size here, too: the larger one is
    nearer to anything.
    """
    parts = [
        torch.cdist(part, private).amin(1) < torch.cdist(part, public).amin(1) for part in features.split(_AT_A_TIME)
    ]
    return torch.cat(parts)
