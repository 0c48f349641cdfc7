"""How alike reconstructions and private images are as sets: the Frechet distance (Heusel et al. 2017) over a judge's features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trapmid.types import Features


class _Given(nn.Module):
    """Stands where torchmetrics expects a feature network: the features are there already."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(found: Features, private: Float[Tensor, "m features"]) -> float:
    """FID between two sets of features (n, d) and (m, d), by torchmetrics.

    The authors count only reconstructions that the judge recognised; where few are, that compares a handful of images with
    thousands, so here all reconstructions count. Values depend on the feature network: compare within one judge only.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(found.shape[1]))
    metric.update(private, real=True)
    metric.update(found, real=False)
    with torch.no_grad():
        return float(metric.compute())
