"""Train and eval mode, left as they were found: each submodule has its own, and its owner may have set it apart, as with frozen batch norms."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """Whatever is switched inside, afterwards the modules and all their submodules are in the modes they were in."""
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
