"""The modules that stand between an audit's images and a model: resizing, normalisation, and the choice of classes."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.errors import shown
from trapmid.subjects.inputs import Normalise
from trapmid.types import HasLogits, Images, UserError, logits_of

MOST_CLASSES = 1_000_000


@final
class Network(nn.Module):
    """A model with its normalisation: images (n, c, h, w) in [0, 1] in, logits or log-probabilities (n, classes) out.

    Args:
        model: takes normalised images.
        normalise: what it takes.
        channels: of its images.

    Attributes:
        probabilities: whether the model answers with probabilities, whose logarithm is returned.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, normalise: Normalise, channels: int) -> None:
        super().__init__()
        self.model, self.probabilities = model, False
        for name, values in (("mean", normalise.mean), ("std", normalise.std)):
            if len(values) not in (1, channels):
                raise UserError(
                    f"--normalize has {len(values)} numbers for the {name}, and the images have {channels} channels."
                )
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "Network":
        """The mode of the model too, if it has one: an exported program is in eval mode for good."""
        self.training = mode
        if not getattr(self.model, "exported", False):
            self.model.train(mode)
        return self

    def forward(self, images: Images) -> Tensor:
        """See the class."""
        answer: Any = self.model((images - self.mean.to(images.device)) / self.std.to(images.device))
        if not isinstance(answer, Tensor | HasLogits):
            raise UserError(
                f"The model answers with {type(answer).__name__}. Expected a tensor of scores (n, classes), or an "
                "object with logits: wrap it in a module that returns them."
            )
        scores = logits_of(answer)
        return scores.clamp_min(1e-12).log() if self.probabilities else scores


@final
class Chosen(nn.Module):
    """Some classes of a model in a given order and, if there are others, one more whose score is the highest of theirs.

    Args:
        model: with `classes` logits.
        rows: the classes that are kept.
        classes: of the model.
    """

    def __init__(self, model: nn.Module, rows: Sequence[int], classes: int) -> None:
        super().__init__()
        others = sorted(set(range(classes)) - set(rows))
        self.model = model
        self.rows: Tensor
        self.others: Tensor
        self.register_buffer("rows", torch.tensor(list(rows), dtype=torch.int64), persistent=False)
        self.register_buffer("others", torch.tensor(others, dtype=torch.int64), persistent=False)

    def forward(self, images: Images) -> Tensor:
        """(n, kept classes, and perhaps one more)."""
        scores = logits_of(self.model(images))
        rows, others = self.rows.to(scores.device), self.others.to(scores.device)
        kept = scores[:, rows]
        return torch.cat([kept, scores[:, others].amax(1, keepdim=True)], 1) if len(others) else kept


@final
class Resized(nn.Module):
    """A model behind images of another size or number of channels.

    Args:
        model: takes images of `shape`.
        shape: (channels, height, width).
        image_size: height and width of the images that come in.
        channels: of the images that come in.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int], image_size: int, channels: int) -> None:
        super().__init__()
        self.model, self.shape, self.same = model, shape, shape == (channels, image_size, image_size)

    def forward(self, images: Images) -> Tensor:
        """Resized with bilinear interpolation, and antialiased where the model's images are smaller."""
        if not self.same:
            channels, *size = self.shape
            if channels != images.shape[1]:
                images = images.expand(-1, 3, -1, -1) if channels == 3 else images.mean(1, keepdim=True)
            if list(images.shape[2:]) != size:
                images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        return logits_of(self.model(images))


def check_answer(network: nn.Module, images: Images, name: str) -> Tensor:
    """The network's scores (n, classes) of some images, on the CPU.

    Raises:
        UserError: it fails on them, or its answer is no table of finite scores.
    """
    try:
        answer = network(images)
    except UserError:
        raise
    except (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        AssertionError,
        NotImplementedError,
    ) as problem:
        raise UserError(
            f"{name} fails on images of shape {tuple(images.shape[1:])}: {shown(problem)}. Is --image-size or "
            "--channels another one?"
        ) from problem
    if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != len(images):
        told = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise UserError(f"{name} answers {len(images)} images with {told}. Expected scores of shape (n, classes).")
    if not 2 <= answer.shape[1] <= MOST_CLASSES:
        raise UserError(
            f"{name} knows {answer.shape[1]:,} classes. Expected 2 to {MOST_CLASSES:,}, with a score for each; a "
            "network with one output for two classes needs a second one."
        )
    if bool(answer.isnan().any()) or bool(answer.isposinf().any()):
        raise UserError(
            f"{name} answers with NaN or infinity to plain black, grey and white images. Its weights are damaged, or "
            "it takes other numbers than these: see --normalize."
        )
    return answer.float().cpu()


def is_probabilities(answer: Tensor) -> bool:
    """Whether every row is one of probabilities: none below zero, and a sum of one."""
    return bool((answer >= 0).all()) and torch.allclose(answer.sum(1), torch.ones(len(answer)), atol=1e-3)
