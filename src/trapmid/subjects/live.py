"""A module in the memory of this process."""

import copy
from pathlib import Path
from typing import Literal, final

from torch import nn

from trapmid.attacks.in_memory import digest
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import UserError

_held: dict[str, nn.Module] = {}


@final
class Live(SubjectConfig):
    """`live`: a module in memory, named by the digest of its weights; `hold` registers it in this process."""

    title = "Module in memory"
    paper = "none: a module of the caller's"
    kind: Literal["live"] = "live"

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "Live | None":
        """See `SubjectConfig.named`. Always None, because no command can name a module in memory."""
        del text, weights
        return None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`."""
        del access
        if self.path not in _held:
            raise UserError(
                f"The module with the digest {self.path} is not in this process. Call trapmid.audit_model with it "
                "again."
            )
        module = copy.deepcopy(_held[self.path])  # the caller may continue to train it
        return Loaded(module=module.cpu().eval(), access=WhiteBoxTarget, digest=self.path)


def hold(module: nn.Module) -> str:
    """Register a module in this process and return the digest of its weights, which identifies it in a `Live`."""
    name = digest(module)
    _held[name] = module
    return name
