"""Residual blocks: their base class, how to find those of a network, and how to remove their skip connections."""

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A block that adds `shortcut(x)` to what it computes; `nn.Identity` where size and width do not change."""

    shortcut: nn.Module


class NoSkip(nn.Module):
    """A skip connection that carries nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """A zero that adds to any map."""
        return x.new_zeros(())


def residual_stages(model: nn.Module) -> list[list[nn.Module]]:
    """The residual blocks of a network, ours and those of timm's ResNet and ResNeSt, stage by stage.

    A stage begins at a block that changes the map's size or width.
    """
    from timm.models import resnest, resnet

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


def remove_skip(block: nn.Module) -> None:
    """Make a block that `residual_stages` found compute without its skip connection.

    timm begins with the last norm of a block at weight zero, so that the block is its skip connection; without that it
    would be zero for ever, so the weight becomes one.
    """
    if isinstance(block, ResidualBlock):
        block.shortcut = NoSkip()
    else:
        block.downsample = NoSkip()
    for norm in block.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm | nn.GroupNorm) and not norm.weight.any():
            nn.init.ones_(norm.weight)
