"""A small classifier that trapmid did not make, and the files that others write of one."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CLASSES, SHAPE = 4, (3, 32, 32)


class Small(nn.Module):
    """A convolution with batch norm, and a head."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(8 * 64, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


class Logits(nn.Module):
    """A classifier of ours as others have one: it returns a tensor, and expects images in another range."""

    def __init__(self, network: nn.Module, scale: float = 1.0, shift: float = 0.0, order: Any = None) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift
        self.order = order

    def forward(self, images: Tensor) -> Tensor:
        scores = self.network(images * self.scale + self.shift).logits
        return scores if self.order is None else scores[:, self.order]


def build() -> nn.Module:
    """The factory of the tests."""
    return Small()


def exported(network: nn.Module, file: Path, *, fixed: bool = False) -> Path:
    shapes = None if fixed else ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(network, (torch.rand(3, *SHAPE),), dynamic_shapes=shapes), file)
    return file


def to_onnx(network: nn.Module, file: Path, *, opset: int = 17) -> Path:
    with warnings.catch_warnings():  # the exporter that needs no further package is on its way out, and says so
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(2, *SHAPE),),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["images"],
            dynamic_axes={"images": {0: "n"}},
        )
    return file
