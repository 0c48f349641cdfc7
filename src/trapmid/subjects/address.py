"""A server that answers at an http:// or https:// address."""

from pathlib import Path
from typing import Literal, final

from trapmid.reach import HttpModel
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, ScoreTarget
from trapmid.types import UserError


@final
class Address(SubjectConfig):
    """`address`: a server that answers JSON as `examples/server.py` does, with probabilities or with labels alone."""

    title = "Server"
    paper = "none: JSON over HTTP"
    kind: Literal["address"] = "address"

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "Address | None":
        """See `SubjectConfig.named`. Accepts an http:// or https:// address."""
        return cls(path=text) if text.startswith(("http://", "https://")) and weights is None else None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`."""
        del access
        if not self.path.startswith(("http://", "https://")):
            raise UserError(f"{self.path!r} is not an http:// or https:// address.")
        asked = HttpModel(self.path)
        return Loaded(
            module=asked,
            access=ScoreTarget if asked.answers == "scores" else LabelTarget,
            digest=asked.digest,
            shape=asked.image_shape,
            names=asked.identities,
            numbers=False,
        )
