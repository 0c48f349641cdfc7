"""A network of timm with weights in a local file."""

import re
from pathlib import Path
from typing import Any, Literal, final

from trapmid.artifacts import sha256
from trapmid.models.weights import initialise, read_weights
from trapmid.subjects.inputs import Normalise
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import UserError

PREFIX = "timm:"


@final
class TimmModel(SubjectConfig):
    """`timm`: `timm:NAME`, fine-tuned, with its weights in a local file: safetensors or a checkpoint of torch.save.

    The number of classes is determined from the weights of the head. Without `normalise`, images are normalised as for
    timm's own pretrained weights of that name, because fine-tuning usually keeps this normalisation.

    Attributes:
        weights: the file.
    """

    title = "timm network"
    paper = "timm (Wightman 2019)"
    kind: Literal["timm"] = "timm"
    weights: Path | None = None

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "TimmModel | None":
        """See `SubjectConfig.named`. Accepts `timm:NAME`."""
        return cls(path=text, weights=weights) if text.startswith(PREFIX) else None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`."""
        del access
        import timm

        name = self.path.removeprefix(PREFIX)
        if not timm.is_model(name):
            near = timm.list_models(f"*{re.split('[_.]', name)[0]}*")[:5]
            raise UserError(
                f"{name!r} is not a model of timm. "
                + (f"Did you mean {', '.join(near)}?" if near else "See timm.list_models().")
            )
        if self.weights is None:
            raise UserError(f"{self.path} needs the weights that you trained. Give --weights FILE.")
        given = read_weights(self.weights)
        plain: Any = timm.create_model(name, pretrained=False)
        channels, height, width = plain.pretrained_cfg.get("input_size") or (3, 224, 224)
        options: dict[str, Any] = {} if self.image_size is None else {"img_size": self.image_size}
        head = _head(plain)
        rows = next((len(given[f"{one}.weight"]) for one in head if f"{one}.weight" in given), None)
        if rows is None:
            raise UserError(
                f"{self.weights} has no weights of the head of {name} ({' or '.join(head) or 'it has none'}). Expected "
                "the whole fine-tuned network."
            )
        try:
            network: Any = timm.create_model(name, num_classes=rows, **options)
        except TypeError:  # only transformers have a parameter for the image size
            network = timm.create_model(name, num_classes=rows)
        initialise(network, self.weights)
        fixed = network.pretrained_cfg
        return Loaded(
            module=network.eval(),
            access=WhiteBoxTarget,
            digest=sha256(self.weights)[:16],
            shape=(channels, self.image_size or height, self.image_size or width),
            normalise=Normalise(tuple(fixed["mean"]), tuple(fixed["std"])) if fixed.get("mean") else None,
        )


def _head(network: Any) -> tuple[str, ...]:
    found = network.pretrained_cfg.get("classifier") or ()
    return (found,) if isinstance(found, str) else tuple(found)
