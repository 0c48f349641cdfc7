"""Residual and dense blocks: how to find those of a network, and how to weaken or remove their skip connections."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A block that adds `shortcut(x)` to its output. The shortcut is `nn.Identity` if size and width do not change."""

    shortcut: nn.Module


class NoSkip(nn.Module):
    """A removed skip connection."""

    def forward(self, x: Tensor) -> Tensor:
        """A zero that can be added to a map of any shape."""
        return x.new_zeros(())


class ScaledSkip(nn.Module):
    """A skip connection whose output is multiplied by a factor."""

    def __init__(self, skip: nn.Module, factor: float) -> None:
        super().__init__()
        self.skip, self.factor = skip, factor

    def forward(self, x: Tensor) -> Tensor:
        """The output of the original skip connection, times the factor."""
        return self.factor * self.skip(x)


class KeptChannels(nn.Module):
    """A layer that keeps some channels of its output and sets the others to zero."""

    kept: Tensor

    def __init__(self, layer: nn.Module, kept: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("kept", kept[:, None, None], persistent=False)

    def forward(self, x: Tensor | list[Tensor]) -> Tensor:
        """Maps (n, channels, h, w)."""
        return torch.where(self.kept, self.layer(x), 0.0)


def _of_timm(*names: str) -> tuple[type[nn.Module], ...]:
    """Classes of `timm.models`; none where timm is not installed, because no network can have them there."""
    if find_spec("timm") is None:
        return ()
    parts = (name.split(".") for name in names)
    return tuple(getattr(import_module(f"timm.models.{module}"), part) for module, part in parts)


def residual_stages(model: nn.Module) -> list[list[nn.Module]]:
    """The residual blocks of a network, grouped by stage.

    Supports our own networks and timm's ResNet, ResNeSt and ConvNeXt. A stage begins at a block that changes the size
    or width of the map. ConvNeXt defines its stages itself.
    """
    of_convnext: list[Any] = [
        stage for stage in model.modules() if isinstance(stage, _of_timm("convnext.ConvNeXtStage"))
    ]
    if of_convnext:
        return [list(stage.blocks) for stage in of_convnext]

    of_timm = _of_timm("resnet.BasicBlock", "resnet.Bottleneck", "resnest.ResNestBottleneck")
    stages: list[list[nn.Module]] = []
    for block in model.modules():
        if isinstance(block, ResidualBlock):
            changes = not isinstance(block.shortcut, nn.Identity)
        elif isinstance(block, of_timm):
            changes = block.downsample is not None
        else:
            continue
        if changes or not stages:
            stages.append([])
        stages[-1].append(block)
    return stages


def dense_stages(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The dense blocks of timm's DenseNet, each with the parent of the norm that reads all its maps.

    The list is empty for other networks.
    """
    dense = _of_timm("densenet.DenseBlock")
    for parent in model.modules():
        found = [(name, part) for name, part in parent.named_children() if isinstance(part, dense)]
        if found:
            parts = dict(parent.named_children())
            return [(block, parts.get(name.replace("denseblock", "transition"), parent)) for name, block in found]
    return []


def scale_skip(block: nn.Module, factor: float) -> None:
    """Multiply the skip connection of a block from `residual_stages` by `factor`. This includes projections.

    timm initialises the weight of the last norm of a block to zero, so that the block equals its skip connection.
    Without the skip connection, the output would always be zero. The weight is therefore set to one if `factor` is 0.
    """
    own = isinstance(block, (ResidualBlock, *_of_timm("convnext.ConvNeXtBlock")))
    name = "shortcut" if own else "downsample"
    skip = getattr(block, name)
    if factor < 1:
        setattr(block, name, ScaledSkip(nn.Identity() if skip is None else skip, factor) if factor > 0 else NoSkip())
    if factor > 0:
        return
    for norm in block.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm | nn.GroupNorm) and not norm.weight.any():
            nn.init.ones_(norm.weight)


def scale_dense(block: nn.Module, reader: nn.Module, factor: float) -> None:
    """Weaken the skip connections of a dense block.

    Each map of the block, including its input, reaches the next layer in full. Later layers receive only the first
    `factor` of its channels. The other channels are set to zero after the norm that reads them, so all weights keep the
    shapes of the published network.

    Args:
        block: a block from `dense_stages`.
        reader: the module that `dense_stages` returns with the block. Its norm reads all maps of the block.
        factor: share of the channels, 0 to 1.
    """
    layers: list[Any] = list(block.children())
    widths: list[int] = [layers[0].conv1.in_channels, *(layer.conv2.out_channels for layer in layers)]

    def kept(after: int) -> Tensor:
        """A mask of the channels that layer `after` receives. The last map is new to this layer and kept in full."""
        whole = [torch.ones(widths[after], dtype=torch.bool)]
        parts = [torch.arange(width) < int(factor * width) for width in widths[:after]]
        return torch.cat([*parts, *whole])

    for number, layer in enumerate(layers):
        layer.norm1 = KeptChannels(layer.norm1, kept(number))
    name = "norm" if hasattr(reader, "norm") else "norm5"
    setattr(reader, name, KeptChannels(getattr(reader, name), kept(len(layers))))
