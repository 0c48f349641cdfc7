"""Batch norm: statistics recomputed under the present weights, and its replacement by group norm."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trapmid.modes import modes_kept


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Set every batch norm's running statistics to their mean over `batches`, each the arguments of one forward pass.

    Running statistics are an average over past weights and, with trapdoors, past triggers. Right after either has moved
    they can be so far off that evaluation collapses for an epoch while training looks fine (docs/design.md). Weights do
    not change.
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
    """Its input, in memory of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers."""
        return x.clone()


def group_norm_for_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every batch norm in `module` by a group norm of 32 groups, or of the most that divide the channels.

    For trainings in which no image may have a part in another's gradient. A batch norm's weights and statistics are
    lost. The output is a copy, since timm's residual blocks add to it in place, which layers with backward hooks do not
    bear.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            norm = nn.GroupNorm(math.gcd(32, child.num_features), child.num_features, child.eps, child.affine)
            fused = child.children()  # dropout and activation, in some of timm's
            module.add_module(name, nn.Sequential(norm, Copy(), *fused))
        else:
            group_norm_for_batch_norm(child)
    return module
