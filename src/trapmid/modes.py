"""Switches between train and eval mode, and restores the mode of each submodule.

Submodules may have different modes, for example frozen batch norms.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """A context in which modes may change. At the end, all submodules get their previous modes again."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """A context in which the modules are in eval mode."""
    with modes_kept(*modules):
        for module in modules:
            module.eval()
        yield
