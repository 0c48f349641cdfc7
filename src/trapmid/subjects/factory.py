"""A model that is built by code of the user: `package.module:factory`."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, final

from torch import nn

from trapmid.attacks.in_memory import digest
from trapmid.errors import shown
from trapmid.models.weights import initialise
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import UserError


@final
class Factory(SubjectConfig):
    """`factory`: a function of the user's own code, without arguments, that returns a `torch.nn.Module`.

    The module takes images (n, channels, height, width) and returns logits, probabilities or an object with `logits`.
    It may be a Lightning module, whose checkpoint is then given as `weights`.

    Attributes:
        weights: safetensors or a checkpoint of torch.save, loaded into the module by name; None if the function loads
            them itself.
    """

    title = "Own code"
    paper = "none: a module of the user's"
    kind: Literal["factory"] = "factory"
    weights: Path | None = None

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "Factory | None":
        """See `SubjectConfig.named`. Accepts an import path with a colon."""
        module, colon, name = text.partition(":")
        dotted = all(part.isidentifier() for part in module.split("."))
        return cls(path=text, weights=weights) if colon and dotted and name.isidentifier() else None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`."""
        del access
        where, _, name = self.path.partition(":")
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)  # as with `python -m`, because the module may be in the working directory
        try:
            factory: Any = getattr(import_module(where), name)
        except (ImportError, AttributeError, ValueError) as problem:
            raise UserError(
                f"{self.path} cannot be imported: {shown(problem)}. Expected package.module:function, importable from "
                f"{here}."
            ) from problem
        try:
            network = factory if isinstance(factory, nn.Module) else factory()
        except TypeError as problem:
            raise UserError(
                f"{self.path} cannot be called without arguments: {shown(problem)}. Write a function that takes none "
                "and returns the module."
            ) from problem
        if not isinstance(network, nn.Module):
            raise UserError(f"{self.path} returns {type(network).__name__}. Expected a torch.nn.Module.")
        if self.weights is not None:
            initialise(network, self.weights)
        return Loaded(module=network.cpu().eval(), access=WhiteBoxTarget, digest=digest(network))
