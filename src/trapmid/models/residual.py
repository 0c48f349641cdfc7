"""Residual and dense blocks: how to find those of a network, and how to weaken or remove their skip connections."""

from typing import Any

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A block that adds `shortcut(x)` to what it computes; `nn.Identity` where size and width do not change."""

    shortcut: nn.Module


class NoSkip(nn.Module):
    """A skip connection that carries nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """A zero that adds to any map."""
        return x.new_zeros(())


class ScaledSkip(nn.Module):
    """A skip connection that carries a share of what it carried before."""

    def __init__(self, skip: nn.Module, factor: float) -> None:
        super().__init__()
        self.skip, self.factor = skip, factor

    def forward(self, x: Tensor) -> Tensor:
        """What the skip connection gave, times the factor."""
        return self.factor * self.skip(x)


class KeptChannels(nn.Module):
    """A layer whose output keeps some channels and has zeros in the others."""

    kept: Tensor

    def __init__(self, layer: nn.Module, kept: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("kept", kept[:, None, None], persistent=False)

    def forward(self, x: Tensor | list[Tensor]) -> Tensor:
        """(n, channels, h, w)."""
        return torch.where(self.kept, self.layer(x), 0.0)


def residual_stages(model: nn.Module) -> list[list[nn.Module]]:
    """The residual blocks of a network, ours and those of timm's ResNet, ResNeSt and ConvNeXt, stage by stage.

    A stage begins at a block that changes the map's size or width. ConvNeXt says itself where its stages are.
    """
    from timm.models import convnext, resnest, resnet

    of_convnext = [stage for stage in model.modules() if isinstance(stage, convnext.ConvNeXtStage)]
    if of_convnext:
        return [list(stage.blocks) for stage in of_convnext]

    stages: list[list[nn.Module]] = []
    for block in model.modules():
        if isinstance(block, ResidualBlock):
            changes = not isinstance(block.shortcut, nn.Identity)
        elif isinstance(block, resnet.BasicBlock | resnet.Bottleneck | resnest.ResNestBottleneck):
            changes = block.downsample is not None
        else:
            continue
        if changes or not stages:
            stages.append([])
        stages[-1].append(block)
    return stages


def dense_stages(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The dense blocks of timm's DenseNet, each with the parent of the norm that reads all its maps; none of others."""
    from timm.models import densenet

    for parent in model.modules():
        found = [(name, part) for name, part in parent.named_children() if isinstance(part, densenet.DenseBlock)]
        if found:
            parts = dict(parent.named_children())
            return [(block, parts.get(name.replace("denseblock", "transition"), parent)) for name, block in found]
    return []


def scale_skip(block: nn.Module, factor: float) -> None:
    """Make a block that `residual_stages` found carry `factor` of its skip connection, projections included.

    timm begins with the last norm of a block at weight zero, so that the block is its skip connection; without that it
    would be zero for ever, so the weight becomes one where `factor` is 0.
    """
    from timm.models import convnext

    name = "shortcut" if isinstance(block, ResidualBlock | convnext.ConvNeXtBlock) else "downsample"
    skip = getattr(block, name)
    if factor < 1:
        setattr(block, name, ScaledSkip(nn.Identity() if skip is None else skip, factor) if factor > 0 else NoSkip())
    if factor > 0:
        return
    for norm in block.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm | nn.GroupNorm) and not norm.weight.any():
            nn.init.ones_(norm.weight)


def scale_dense(block: nn.Module, reader: nn.Module, factor: float) -> None:
    """Let each map of a dense block, its input included, reach the next layer whole, and later ones only in part.

    Later layers get the first `factor` of its channels. What they do not get is zero behind the norm that reads it, so
    that the shapes of all weights stay those of the published network.

    Args:
        block: of `dense_stages`.
        reader: what `dense_stages` gives with it; its norm comes last.
        factor: share of the channels, 0 to 1.
    """
    layers: list[Any] = list(block.children())
    widths: list[int] = [layers[0].conv1.in_channels, *(layer.conv2.out_channels for layer in layers)]

    def kept(after: int) -> Tensor:
        """Of the maps before layer `after`, the last one is new to it."""
        whole = [torch.ones(widths[after], dtype=torch.bool)]
        parts = [torch.arange(width) < int(factor * width) for width in widths[:after]]
        return torch.cat([*parts, *whole])

    for number, layer in enumerate(layers):
        layer.norm1 = KeptChannels(layer.norm1, kept(number))
    name = "norm" if hasattr(reader, "norm") else "norm5"
    setattr(reader, name, KeptChannels(getattr(reader, name), kept(len(layers))))
