"""Batch norm: recomputing its statistics with the current weights, and replacing it by group norm."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trapmid.modes import modes_kept


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Set the running statistics of every batch norm to their mean over `batches`.

    Each batch holds the arguments of one forward pass. Running statistics are an average over past weights and, with
    trapdoors, past triggers. Right after either has changed, the statistics can be so inaccurate that the evaluation
    accuracy collapses for an epoch while training looks fine (docs/design.md). Weights do not change.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    with modes_kept(model), torch.no_grad():
        model.train()
        for arguments in batches:
            model(*arguments)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class Copy(nn.Module):
    """Returns a copy of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """A copy of `x`."""
        return x.clone()


def group_norm_for_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every batch norm in `module` by a group norm of 32 groups, or of the most that divide the channels.

    This is meant for trainings in which no image may influence the gradient of another one. The weights and statistics
    of the batch norms are lost. The output is a copy, because timm's residual blocks add to it in place, and layers
    with backward hooks do not support this.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            norm = nn.GroupNorm(math.gcd(32, child.num_features), child.num_features, child.eps, child.affine)
            fused = child.children()  # dropout and activation, in some layers of timm
            module.add_module(name, nn.Sequential(norm, Copy(), *fused))
        else:
            group_norm_for_batch_norm(child)
    return module
