"""The types that all parts of trapmid exchange: image batches, labels and predictions, with their shapes and ranges."""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from trapmid.errors import UserError as UserError

__all__ = [
    "Features",
    "HasLogits",
    "Images",
    "Labels",
    "Logits",
    "Pixels",
    "Prediction",
    "Stateful",
    "UserError",
    "logits_of",
    "prediction_of",
]

Images: TypeAlias = Float[Tensor, "n c h w"]
"""A batch of images in [0, 1], float, channels first."""

Pixels: TypeAlias = UInt8[Tensor, "n c h w"]
"""A batch of images as they are stored: bytes from 0 to 255, channels first."""

Labels: TypeAlias = Int64[Tensor, " n"]
"""Class numbers, from 0 to num_classes - 1."""

Logits: TypeAlias = Float[Tensor, "n classes"]
Features: TypeAlias = Float[Tensor, "n features"]


class Prediction(NamedTuple):
    """The output of a classifier for a batch.

    Attributes:
        logits: (n, num_classes), before the softmax.
        features: (n, d), the penultimate activations, which are the input of the last linear layer.
        hidden: the outputs of earlier blocks, in order, for defenses that regularise them; empty if the network gives
            none.
        posterior: mean and standard deviation (n, d) of the normal distribution that `features` were drawn from; None
            if they are not random.
    """

    logits: Tensor
    features: Tensor
    hidden: tuple[Tensor, ...] = ()
    posterior: tuple[Tensor, Tensor] | None = None

    def part(self, rows: slice) -> "Prediction":
        """The prediction for some of the images."""
        posterior = None if self.posterior is None else (self.posterior[0][rows], self.posterior[1][rows])
        return Prediction(self.logits[rows], self.features[rows], tuple(h[rows] for h in self.hidden), posterior)


@runtime_checkable
class HasLogits(Protocol):
    """An output with a field `logits`, such as a `Prediction` or the output of a Hugging Face classifier."""

    @property
    def logits(self) -> Tensor: ...  # noqa: D102


def logits_of(output: Tensor | HasLogits) -> Tensor:
    """The logits (n, num_classes) in the output of a network."""
    return output if isinstance(output, Tensor) else output.logits


def prediction_of(output: Tensor | HasLogits) -> Prediction:
    """The output of a network as a `Prediction`. If the output has logits alone, they serve as the features, too."""
    return output if isinstance(output, Prediction) else Prediction(logits_of(output), logits_of(output))


@runtime_checkable
class Stateful(Protocol):
    """Anything that a checkpoint can hold, such as a module, an optimizer or a trapdoor."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...  # noqa: D102
