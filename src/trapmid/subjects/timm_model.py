"""A network of timm with weights in a local file."""

from pathlib import Path
from typing import Literal, final

from trapmid.manifests import sha256
from trapmid.models.timm_networks import classifiers, timm_network
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
    timm's own pretrained weights of that name, because fine-tuning usually keeps this normalisation. Needs the extra
    `trapmid[zoo]`.

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
        name = self.path.removeprefix(PREFIX)
        plain = timm_network(name, self.path)
        if self.weights is None:
            raise UserError(f"{self.path} needs the weights that you trained. Give --weights FILE.")
        given = read_weights(self.weights)
        channels, height, width = plain.pretrained_cfg.get("input_size") or (3, 224, 224)
        head = classifiers(plain)
        rows = next((len(given[f"{one}.weight"]) for one in head if f"{one}.weight" in given), None)
        if rows is None:
            raise UserError(
                f"{self.weights} has no weights of the head of {name} ({' or '.join(head) or 'it has none'}). Expected "
                "the whole fine-tuned network."
            )
        network = timm_network(name, self.path, self.image_size, num_classes=rows)
        initialise(network, self.weights)
        fixed = network.pretrained_cfg
        return Loaded(
            module=network.eval(),
            access=WhiteBoxTarget,
            digest=sha256(self.weights)[:16],
            shape=(channels, self.image_size or height, self.image_size or width),
            normalise=Normalise(tuple(fixed["mean"]), tuple(fixed["std"])) if fixed.get("mean") else None,
        )
