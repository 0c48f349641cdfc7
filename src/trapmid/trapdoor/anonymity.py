"""Anonymous triggers: a term that moves each trigger away from the looks of its person. It is not in the paper."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid import together
from trapmid.types import Images, Labels, prediction_of

ENOUGH = 16
"""Images of a class whose mean embedding stands for its person. The embedder is frozen, so more would add little."""


class Anonymity(nn.Module):
    """Measures how much an image resembles the people of a training, in the eyes of a frozen network.

    Sign steps turn a trigger into features of its person, so that a face embedder recognises the person in the trigger.
    An attack that reconstructs the trigger then shows a part of the person. This measure allows triggers to avoid that.

    Args:
        embedder: a network that tells people apart whom it was never trained on, such as a pretrained start. It is
            frozen. Its embedding of an image is the `features` of its output, or the output if it has none.
        num_classes: number of identities.
        image_shape: (channels, height, width).

    Attributes:
        embedding_sums: (num_classes, d), sums of the normalised embeddings of the clean images of each class.
        image_sum: (c, h, w), sum of all clean images.
        counts: (num_classes,), numbers of clean images of each class.
    """

    embedding_sums: Tensor
    image_sum: Tensor
    counts: Tensor

    def __init__(self, embedder: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.embedder = embedder.eval().requires_grad_(False)
        weights = next(embedder.parameters())
        example = self._embed(torch.zeros(1, *image_shape).to(weights))
        self.register_buffer("embedding_sums", torch.zeros(num_classes, example.shape[1]).to(weights))
        self.register_buffer("image_sum", torch.zeros(image_shape).to(weights))
        self.register_buffer("counts", torch.zeros(num_classes).to(weights))

    @torch.no_grad()
    def observe(self, images: Images, labels: Labels) -> None:
        """Add a batch of clean images (n, c, h, w), which are not augmented, and their labels (n,).

        When all classes have `ENOUGH` images, nothing changes any more.
        """
        if self.counts.min() >= ENOUGH:
            return
        embeddings = torch.zeros_like(self.embedding_sums).index_add_(0, labels, self._embed(images))
        total, counts = images.sum(0), torch.bincount(labels, minlength=len(self.counts)).to(self.counts)
        together.average([embeddings, total, counts])
        self.embedding_sums += together.processes() * embeddings
        self.image_sum += together.processes() * total
        self.counts += together.processes() * counts

    @property
    def mean_image(self) -> Tensor:
        """The mean (c, h, w) of all clean images so far."""
        return self.image_sum / self.counts.sum()

    def likeness(self, images: Images, classes: Labels) -> Tensor:
        """The cosines (n,) between images (n, c, h, w) and the people of `classes` (n,).

        All embeddings are relative to the mean of everybody. The likeness to a class without an image so far is 0.
        """
        everybody = self.embedding_sums.sum(0) / self.counts.sum()
        people = self.embedding_sums[classes] - self.counts[classes, None] * everybody
        return F.cosine_similarity(self._embed(images) - everybody, people)

    def gradient(self, triggers: Tensor, others: Tensor, poison: Callable[[Images, Labels, Tensor], Images]) -> Tensor:
        """The gradient (num_classes, c, h, w) of the likeness of each trigger, blended into the mean image.

        It has the mean size of another gradient, trigger by trigger, since the units of the two have nothing in common.
        Triggers without another gradient do not move and get none.

        Args:
            triggers: (num_classes, c, h, w).
            others: the gradient of all other terms, of the same shape.
            poison: takes images, target labels and triggers, and returns images with triggers.
        """
        moving = others.flatten(1).any(1).nonzero()[:, 0]
        triggers = triggers.detach().requires_grad_()
        hosts = self.mean_image.expand(len(moving), *triggers.shape[1:])
        with torch.enable_grad():  # in one pass, this runs within a backward pass
            likeness = self.likeness(poison(hosts, moving, triggers), moving).sum()
        (away,) = torch.autograd.grad(likeness, triggers)
        size = others.abs().mean((1, 2, 3), keepdim=True) / away.abs().mean((1, 2, 3), keepdim=True)
        return torch.nan_to_num(size, posinf=0.0) * away

    def _embed(self, images: Images) -> Tensor:
        return F.normalize(prediction_of(self.embedder(images)).features.flatten(1).to(images))
