"""What flows between the rooms: image batches, labels and predictions, with their shapes and ranges."""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from trapmid.errors import UserError as UserError

Images: TypeAlias = Float[Tensor, "n c h w"]
"""A batch of images in [0, 1], float, channels first."""

Pixels: TypeAlias = UInt8[Tensor, "n c h w"]
"""The same images as they are stored: 0 to 255."""

Labels: TypeAlias = Int64[Tensor, " n"]
"""Identity indices, 0 to num_classes - 1."""

Logits: TypeAlias = Float[Tensor, "n classes"]
Features: TypeAlias = Float[Tensor, "n features"]


class Prediction(NamedTuple):
    """What a classifier says about a batch.

    Attributes:
        logits: (n, num_classes), before the softmax.
        features: (n, d), the penultimate activations: the input of the last linear layer.
        hidden: maps of earlier blocks, in order, for defenses that regularise them; empty where there are none.
        posterior: mean and standard deviation (n, d) of the normal distribution that `features` were drawn from; None where
            they are not drawn.
    """

    logits: Tensor
    features: Tensor
    hidden: tuple[Tensor, ...] = ()
    posterior: tuple[Tensor, Tensor] | None = None

    def part(self, rows: slice) -> "Prediction":
        """What is said about some of the images."""
        posterior = None if self.posterior is None else (self.posterior[0][rows], self.posterior[1][rows])
        return Prediction(self.logits[rows], self.features[rows], tuple(h[rows] for h in self.hidden), posterior)


@runtime_checkable
class HasLogits(Protocol):
    """What a network may return in place of bare logits: a `Prediction`, or the output of a Hugging Face classifier."""

    @property
    def logits(self) -> Tensor: ...  # noqa: D102


def logits_of(output: Tensor | HasLogits) -> Tensor:
    """The logits of what a network returned."""
    return output if isinstance(output, Tensor) else output.logits


def prediction_of(output: Tensor | HasLogits) -> Prediction:
    """What a network returned as a `Prediction`; where it shows logits alone, they are the features, too."""
    return output if isinstance(output, Prediction) else Prediction(logits_of(output), logits_of(output))


@runtime_checkable
class Stateful(Protocol):
    """Anything a checkpoint can hold: a module, an optimizer, a schedule, a trigger bank."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...  # noqa: D102
