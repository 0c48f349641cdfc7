"""Train and eval mode, restored submodule by submodule, since some may be set apart, such as frozen batch norms."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """Modes may be switched inside; afterwards all submodules are in the modes that they were in before."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules are in eval mode."""
    with modes_kept(*modules):
        for module in modules:
            module.eval()
        yield
