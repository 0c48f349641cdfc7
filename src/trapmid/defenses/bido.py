"""BiDO (Peng et al., KDD 2022): hidden maps should depend little on the input and strongly on the label."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.config import Count, Deviation, NonNegative, Positive
from trapmid.defenses.changes import Changes
from trapmid.defenses.defense import Defense
from trapmid.together import gather
from trapmid.types import Images, Labels, Prediction, UserError

KernelName = Literal["linear", "gaussian", "imq"]
KernelMatrix = Tensor
"""(m, m): a kernel between all images of a batch."""


@final
class BiDO(Defense):
    """`bido`: bilateral dependency optimisation. The defaults are those of Trap-MID, App. C.6, for HSIC.

    The loss gains sum_j (input_weight d(h_j, x) - label_weight d(h_j, onehot(y))) over the classifier's hidden maps
    h_j. The published setting trains for 50 epochs in batches of 64 with Adam, at a rate of 1e-4 without weight decay.

    Attributes:
        measure: d: `hsic` in its normalised form (nCCA), or `coco`, for which the default weights are not meant.
        input_weight: lambda_x.
        label_weight: lambda_y.
        label_kernel: kernel of one-hot labels.
        feature_kernel: kernel of images and hidden maps; `gaussian` as published.
        sigma: width of the kernels `gaussian` and `imq`.
        images_per_identity: number of images of an identity in a batch; published are 16 identities with 4 images
            each. None leaves the batches as they are. In your own training loop, where the data loader makes the
            batches, set it to None and give the loader `balanced_batches` as its batch sampler.
        sampler: how batches are drawn: `chunked` as published (`chunked_batches`), or `anew` (`balanced_batches`).
    """

    title = "BiDO"
    paper = "BiDO (Peng et al., KDD 2022); constants as in Trap-MID, App. C.6"
    deviations = (
        Deviation(
            "optimizer and schedule",
            "Adam at 1e-4 without weight decay, 50 epochs in batches of 64",
            "the recipe's, for every defense",
            "otherwise, a comparison of defenses would also compare optimizers",
        ),
        Deviation(
            "length of an epoch",
            "a pass of the sampler, 374 batches for 1,000 identities with 27 images",
            "as many batches as other defenses have; the sampler begins anew",
            "equal numbers of steps",
        ),
    )
    kind: Literal["bido"] = "bido"
    measure: Literal["hsic", "coco"] = "hsic"
    input_weight: NonNegative = 0.05
    label_weight: NonNegative = 0.5
    label_kernel: KernelName = "linear"
    feature_kernel: KernelName = "gaussian"
    sigma: Positive = 5.0
    images_per_identity: Count | None = 4
    sampler: Literal["chunked", "anew"] = "chunked"

    def changes(self) -> Changes:
        """Other batches, and terms of the loss."""
        return Changes(batches=self.batches if self.images_per_identity is not None else None, terms=(self.dependence,))

    def batches(self, labels: Labels, batch_size: int, rng: torch.Generator) -> Sequence[Tensor]:
        """See `chunked_batches` and `balanced_batches`."""
        assert self.images_per_identity is not None
        draw = chunked_batches if self.sampler == "chunked" else balanced_batches
        return draw(labels, batch_size, self.images_per_identity, rng)

    def dependence(self, prediction: Prediction, images: Images, labels: Labels) -> Mapping[str, Tensor]:
        """Both sums over the hidden maps, weighted. Warns if no two images of a batch show the same identity.

        Raises:
            UserError: the classifier returns no hidden maps.
        """
        if not prediction.hidden:
            raise UserError(
                "bido regularises hidden maps, and this classifier returns none (`Prediction.hidden` is empty). Use "
                "another --model: `trapmid list`."
            )
        images, labels = gather(images), gather(labels)  # if several processes train together
        if len(labels.unique()) == len(labels):
            warnings.warn(
                f"bido ties hidden maps to labels, and in this batch of {len(labels)} no two images show the same "
                "identity, so it has no effect. "
                "Draw several images of an identity, as trapmid.defenses.bido.balanced_batches does.",
                stacklevel=2,
            )
        measure = {"hsic": hsic, "coco": coco}[self.measure]
        one_hot = F.one_hot(labels, prediction.logits.shape[1]).float()
        of_input = kernel(self.feature_kernel, images, self.sigma)
        of_label = kernel(self.label_kernel, one_hot, self.sigma)
        of_hidden = [kernel(self.feature_kernel, gather(hidden), self.sigma) for hidden in prediction.hidden]

        def summed(other: KernelMatrix) -> Tensor:
            return torch.stack([measure(k, other) for k in of_hidden]).sum().to(prediction.logits.dtype)

        return {
            "input_dependence": self.input_weight * summed(of_input),
            "label_dependence": -self.label_weight * summed(of_label),
        }


def kernel(name: KernelName, points: Tensor, sigma: float) -> KernelMatrix:
    """The kernel matrix (m, m) of m points of any shape.

    It is computed in float64, because similar images differ little and the ridge of `hsic` is small.
    `linear` is a.b, `gaussian` exp(-u) and `imq` (inverse multiquadric) (1 + u)^(-1/2), with u = |a - b|^2 / (2 sigma^2
    dim). The scale of `imq` is an assumption: it is that of `gaussian`.
    """
    flat = points.flatten(1).double()
    products = flat @ flat.T
    if name == "linear":
        return products
    squares = products.diagonal()
    scaled = (squares[:, None] + squares - 2 * products).clamp(min=0) / (2 * sigma**2 * flat.shape[1])
    return torch.exp(-scaled) if name == "gaussian" else (1 + scaled).rsqrt()


def hsic(k: KernelMatrix, other: KernelMatrix) -> Tensor:
    """Normalised HSIC (nCCA): sum_ij R[i, j] R'[j, i] with R = K H (K H + 1e-5 m I)^-1 and H = I - 11^T / m."""

    def normalised(k: KernelMatrix) -> Tensor:
        centred = k - k.mean(1, keepdim=True)
        ridge = 1e-5 * len(k) * torch.eye(len(k), dtype=k.dtype, device=k.device)
        return torch.linalg.solve(centred + ridge, centred, left=False)

    return (normalised(k) * normalised(other).T).sum()


def coco(k: KernelMatrix, other: KernelMatrix) -> Tensor:
    """Constrained covariance as published: sqrt(||(H K H)(H K' H)||_F) / m."""

    def centred(k: KernelMatrix) -> Tensor:
        return k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()

    return torch.linalg.matrix_norm(centred(k) @ centred(other)).sqrt() / len(k)


def chunked_batches(
    labels: Labels, batch_size: int, images_per_identity: int, rng: torch.Generator
) -> Sequence[Tensor]:
    """The published batches of rows, `len(labels) // batch_size` of them.

    The shuffled images of each identity are cut into chunks of `images_per_identity`; a shorter rest is left out. Each
    batch takes one chunk of each of several random identities. Identities whose chunks are used up leave. When fewer
    identities are left than a batch takes, the images are cut anew. The authors' epoch ends there, so that it is
    shorter than one of shuffled batches and leaves out about a tenth of the images.

    With fewer identities than a batch takes, chunks are longer. If the length of a chunk does not divide the batch
    size, the last identity of a batch gives fewer images.

    Args:
        labels: (n,) of all training images.
        batch_size: rows in each batch.
        images_per_identity: images of each identity in a batch.
        rng: draws identities and images.

    Raises:
        UserError: too few identities have images for a chunk.
    """
    of_identity = [(labels == one).nonzero().squeeze(1) for one in labels.unique()]
    length = max(images_per_identity, -(-batch_size // len(of_identity)))
    taken, steps = -(-batch_size // length), len(labels) // batch_size
    filled = sum(len(rows) >= length for rows in of_identity)
    if filled < taken:
        raise UserError(
            f"bido fills a batch of {batch_size} with {length} images of each of {taken} identities, and only {filled} "
            "identities have so many training images. Lower training.batch_size, or set defenses.bido.sampler=anew."
        )
    batches: list[Tensor] = []
    while len(batches) < steps:
        cut = [rows[torch.randperm(len(rows), generator=rng)].split(length) for rows in of_identity]
        left = [[chunk for chunk in chunks if len(chunk) == length] for chunks in cut]
        while len(left := [chunks for chunks in left if chunks]) >= taken and len(batches) < steps:
            drawn = torch.randperm(len(left), generator=rng)[:taken].tolist()
            batches.append(torch.cat([left[number].pop() for number in drawn])[:batch_size])
    return batches


def balanced_batches(
    labels: Labels, batch_size: int, images_per_identity: int, rng: torch.Generator
) -> Sequence[Tensor]:
    """Batches of rows, `len(labels) // batch_size` of them, each with several random images of random identities.

    A batch holds no identity and no image twice, as far as there are enough: with fewer identities than a batch takes,
    each gives more images, and an identity with fewer images gives them again. If `images_per_identity` does not divide
    the batch size, the last identity gives fewer. Every batch is drawn anew.

    Args:
        labels: (n,) of all training images.
        batch_size: rows in each batch.
        images_per_identity: images of each identity in a batch.
        rng: draws identities and images.
    """
    identities, counts = labels.unique(return_counts=True)
    per_identity = max(images_per_identity, -(-batch_size // len(identities)))
    steps, taken = len(labels) // batch_size, -(-batch_size // per_identity)
    rows = labels.argsort(stable=True)
    firsts = counts.cumsum(0) - counts
    chosen = torch.rand(steps, len(identities), generator=rng).argsort(1)[:, :taken]
    order = torch.rand(steps, taken, int(counts.max()), generator=rng)
    real = torch.arange(order.shape[2]) < counts[chosen][:, :, None]
    shuffled = order.masked_fill(~real, 2.0).argsort(2)
    nth = torch.arange(per_identity) % counts[chosen][:, :, None]
    picked = rows[firsts[chosen][:, :, None] + shuffled.gather(2, nth)]
    return picked.flatten(1)[:, :batch_size].unbind()
