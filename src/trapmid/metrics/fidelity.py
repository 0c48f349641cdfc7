"""Metrics of sets of images: FID (Heusel et al. 2017), KID (Binkowski et al. 2018), and the contract of networks.

They compare reconstructions with the private training images. Values depend on the network that gives the features,
so compare values of one network only. The authors of Trap-MID count only reconstructions that the judge recognises.
Where few are, that compares a handful of images with thousands, so here all of them count.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from trapmid.types import Features, Pixels

_AT_A_TIME = 1024


class FidelityNetwork(ABC):
    """A network that gives features of images but recognises no identity, so that it is not a judge.

    Attributes:
        name: in the column `judge` of scores.
    """

    name: str

    @abstractmethod
    def features(self, pixels: Pixels) -> Features:
        """Of images (n, c, h, w), uint8, on the CPU."""


def frechet_distance(found: Features, private: Float[Tensor, "m features"]) -> float:
    """FID of features (n, d) and (m, d) with covariances S and T: |mean difference|^2 + tr(S + T - 2 (S T)^(1/2)).

    With centred features X and Y the eigenvalues of S T are the squared singular values of X Y^T / ((n - 1) (m -
    1))^(1/2), and triangular factors of X and Y have the same. So nothing of size d x d is decomposed where there are
    fewer images than features: 2,048 features of 100 and 480 images take 0.07 s, the eigenvalues of S T 13 s.
    """
    found, private = found.double(), private.double()
    shift = found.mean(0) - private.mean(0)
    x, y = ((features - features.mean(0)) / (len(features) - 1) ** 0.5 for features in (found, private))
    roots = torch.linalg.svdvals(torch.linalg.qr(x, mode="r").R @ torch.linalg.qr(y, mode="r").R.T)
    return float(shift.square().sum() + x.square().sum() + y.square().sum() - 2 * roots.sum())


def kernel_distance(found: Features, private: Float[Tensor, "m features"]) -> float:
    """KID: the unbiased squared maximum mean discrepancy of the kernel (x . y / d + 1)^3, over all pairs.

    Binkowski et al. average it over random subsets, whose expectation this is. Unlike FID it does not depend on how
    many images there are; it may fall below zero where sets are alike.
    """
    within = [
        (_kernel_sum(features, features) - float(_kernel(features.double().square().sum(1), features.shape[1]).sum()))
        / (len(features) * (len(features) - 1))
        for features in (found, private)
    ]
    return sum(within) - 2 * _kernel_sum(found, private) / (len(found) * len(private))


def _kernel(products: Tensor, size: int) -> Tensor:
    return (products / size + 1) ** 3


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    parts = a.double().split(_AT_A_TIME)
    return sum(float(_kernel(part @ b.double().T, a.shape[1]).sum()) for part in parts)
