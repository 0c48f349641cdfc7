"""Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of images, class by class.

The manifold of a class is the union of spheres around its images. The radius of a sphere is the distance to the k-th
nearest image of the same class, and an image is in a sphere if it is strictly nearer than that. PPA and, after it,
Trap-MID (App. E.3) compute three of the four measures in another way than Naeem et al. (the package `prdc`), so those
exist twice. PPA and Trap-MID:

- `precision`: the share of reconstructions within the sphere of the *nearest* private image;
- `recall`: the share of private images within the sphere of the *nearest* reconstruction;
- `density`: pairs of a private sphere and a reconstruction in it, divided by k times the number of *private images*.

Naeem et al.:

- `precision`: the share of reconstructions within the sphere of *any* private image;
- `recall`: the share of private images within the sphere of *any* reconstruction;
- `density`: the same pairs, divided by k times the number of *reconstructions*.

Both compute `coverage` alike: the share of private images whose sphere contains a reconstruction.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trapmid.types import Features, Labels

K = 3
"""Which neighbour gives the radius, as published."""


class Grouped(NamedTuple):
    """Features by class, padded to the size of the largest.

    Attributes:
        features: (num_classes, most, d), zero where there is none.
        there: (num_classes, most).
    """

    features: Float[Tensor, "classes most d"]
    there: Bool[Tensor, "classes most"]

    @property
    def counts(self) -> Tensor:
        """(num_classes,): images of each class."""
        return self.there.sum(1)


def by_class(features: Features, labels: Labels, num_classes: int) -> Grouped:
    """Sort features (n, d) into their classes (n,), in the order in which they come."""
    counts = labels.bincount(minlength=num_classes)
    order = labels.argsort(stable=True)
    classes = labels[order]
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[classes]
    most = int(counts.max())
    grouped, there = features.new_zeros(num_classes, most, features.shape[1]), torch.zeros(num_classes, most).bool()
    grouped[classes, place], there[classes, place] = features[order], True
    return Grouped(grouped, there)


def manifold(
    found: Features,
    labels: Labels,
    private: Float[Tensor, "m features"],
    private_labels: Int64[Tensor, " m"],
    num_classes: int,
    k: int = K,
) -> dict[str, Float[Tensor, " classes"]]:
    """Both variants by the name of their metric; Naeem et al.'s end in `_naeem`.

    Args:
        found: features of the reconstructions, (n, d).
        labels: (n,), whom they are meant to show.
        private: features of the private images, (m, d).
        private_labels: (m,).
        num_classes: identities.
        k: see above.

    Returns:
        For each metric a value per class; not a number where the class has no images on one side, or not more than k
            on the
        side whose spheres are asked for.
    """
    fake, real = by_class(found, labels, num_classes), by_class(private, private_labels, num_classes)
    between = _distances(real, fake)
    radius_real, radius_fake = _radii(real, k), _radii(fake, k)
    nearest_real, nearest_fake = between.min(1), between.min(2)
    in_real = between < radius_real[:, :, None]  # (num_classes, private images, reconstructions)
    in_fake = between < radius_fake[:, None, :]
    inside = in_real.sum((1, 2)) / k
    both = (fake.counts > 0) & (real.counts > 0)
    spheres_real, spheres_fake = both & (real.counts > k), both & (fake.counts > k)
    in_nearest_real = nearest_real.values < radius_real.gather(1, nearest_real.indices)
    in_nearest_fake = nearest_fake.values < radius_fake.gather(1, nearest_fake.indices)
    shares = {
        "precision": (in_nearest_real.sum(1) / fake.counts, spheres_real),
        "recall": (in_nearest_fake.sum(1) / real.counts, spheres_fake),
        "density": (inside / real.counts, spheres_real),
        "coverage": (in_real.any(2).sum(1) / real.counts, spheres_real),
        "precision_naeem": (in_real.any(1).sum(1) / fake.counts, spheres_real),
        "recall_naeem": (in_fake.any(2).sum(1) / real.counts, spheres_fake),
        "density_naeem": (inside / fake.counts, spheres_real),
    }
    return {name: values.where(known, torch.nan) for name, (values, known) in shares.items()}


def _distances(a: Grouped, b: Grouped) -> Tensor:
    """(num_classes, most of a, most of b): Euclidean, infinite where either is padding."""
    distances = torch.cdist(a.features, b.features, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.masked_fill(~(a.there[:, :, None] & b.there[:, None, :]), torch.inf)


def _radii(group: Grouped, k: int) -> Tensor:
    """(num_classes, most): distance of each image to its k-th nearest other of the same class."""
    distances = _distances(group, group)
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return distances.sort(2).values[:, :, min(k, distances.shape[2]) - 1]
