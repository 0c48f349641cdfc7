"""Modules between the images of an audit and a model: resizing, normalisation and selection of classes."""

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
    """A model with its normalisation, from images (n, c, h, w) in [0, 1] to logits or log-probabilities (n, classes).

    Args:
        model: the model, which takes normalised images.
        normalise: the normalisation of its images.
        channels: number of channels of its images.

    Attributes:
        probabilities: whether the model returns probabilities. In this case, `forward` returns their logarithm.
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

    def forward(self, images: Images) -> Tensor:
        """Logits or log-probabilities (n, classes)."""
        answer: Any = self.model((images - self.mean.to(images.device)) / self.std.to(images.device))
        if not isinstance(answer, Tensor | HasLogits):
            raise UserError(
                f"The model answers with {type(answer).__name__}. Expected a tensor of scores (n, classes), or an "
                "object with logits: wrap it in a module that returns them."
            )
        scores = logits_of(answer)
        return scores.clamp_min(1e-12).log() if self.probabilities else scores


@final
class Exported(nn.Module):
    """A network from a file, which was exported in eval mode, perhaps for batches of one size only.

    Args:
        network: the network.
        batch: the size of its batches. Images are passed to it in batches of this size, and the last one is padded.
            None if it accepts batches of any size.
    """

    def __init__(self, network: nn.Module, batch: int | None) -> None:
        super().__init__()
        self.network, self.batch = network, batch

    def train(self, mode: bool = True) -> "Exported":
        """Store the mode. It has no effect on the network."""
        self.training = mode
        return self

    def forward(self, images: Images) -> Tensor:
        """The output of the network."""
        if self.batch is None:
            return self.network(images)
        answers = []
        for part in images.split(self.batch):
            missing = self.batch - len(part)
            answers.append(self.network(torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]))[: len(part)])
        return torch.cat(answers)


def batch_of(model: nn.Module) -> int | None:
    """The size of the batches that a model was exported for; None if it accepts batches of any size."""
    return next((part.batch for part in model.modules() if isinstance(part, Exported)), None)


@final
class Chosen(nn.Module):
    """A selection of the classes of a model, in a given order.

    If there are other classes, one more class represents them. Its score is the highest score of these classes.

    Args:
        model: the model, with `classes` logits.
        rows: the indices of the classes to keep.
        classes: number of classes of the model.
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
        """Scores of the classes that are kept and, if there are others, of one more class."""
        scores = logits_of(self.model(images))
        rows, others = self.rows.to(scores.device), self.others.to(scores.device)
        kept = scores[:, rows]
        return torch.cat([kept, scores[:, others].amax(1, keepdim=True)], 1) if len(others) else kept


@final
class Resized(nn.Module):
    """A model that accepts images of another size or number of channels than its own.

    Args:
        model: the model, which takes images of `shape`.
        shape: (channels, height, width) of the images of the model.
        image_size: height and width of the input images.
        channels: number of channels of the input images.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int], image_size: int, channels: int) -> None:
        super().__init__()
        self.model, self.shape, self.same = model, shape, shape == (channels, image_size, image_size)

    def forward(self, images: Images) -> Tensor:
        """The output for resized images. Interpolation is bilinear, with antialiasing if the images become smaller."""
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
        UserError: the network fails on them, or its answer is not a table of finite scores.
    """
    try:
        answer = network(images)
    except UserError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError) as problem:
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
    """Whether every row consists of probabilities: no value is negative, and the sum is one."""
    return bool((answer >= 0).all()) and torch.allclose(answer.sum(1), torch.ones(len(answer)), atol=1e-3)
