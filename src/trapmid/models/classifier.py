"""The interface of a classifier: it maps images in [0, 1] to logits and features, and normalises them itself."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, final

from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import Config
from trapmid.models.start import AnyStart
from trapmid.models.weights import initialise
from trapmid.types import Images, Prediction, UserError

STARTS = ("pretrained", "weights", "start", "convolutions")
"""Fields that say where training starts from; all other fields of a `ModelConfig` define the architecture."""


class Classifier(nn.Module, ABC):
    """A network from images to identities.

    Attributes:
        num_classes: number of logits.
        image_size: height and width in pixels of the images that the network was built for.
        channels: one or three.
        head: the last layer, a linear layer from features to logits.
        heads: prefixes of the layers whose size depends on the identities or the image size. A weights file may lack
            these layers, or have them in another size.
        notes: the layers among `heads` that kept random weights when a weights file was loaded.
    """

    head: nn.Module
    heads: tuple[str, ...] = ("head.",)
    notes: tuple[str, ...] = ()

    def __init__(self, num_classes: int, image_size: int, channels: int) -> None:
        super().__init__()
        self.num_classes, self.image_size, self.channels = num_classes, image_size, channels

    @abstractmethod
    def forward(self, images: Images) -> Prediction:
        """Logits (n, num_classes) and features (n, d) of images (n, channels, image_size, image_size) in [0, 1].

        A network with a fixed input size accepts images of any size and resizes them.
        """

    def own_name(self, name: str) -> str:
        """The name in this network of a weight that is published as `name`."""
        return name


def resized(images: Tensor, size: int) -> Tensor:
    """Resize images (n, c, h, w) to `size` pixels, with bilinear interpolation and without antialiasing.

    Images that already have this size are returned unchanged.
    """
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


class ModelConfig(Config, ABC):
    """An architecture and the weights it starts from.

    Attributes:
        weights: a local file with initial weights, safetensors or a legacy checkpoint (`trapmid.models.weights`), which
            replaces random or downloaded weights. Layers whose size depends on the identities are initialised at random
            if they do not fit.
        start: a pretraining on public images that produces the initial weights. `trapmid.starts.started` replaces it
            by `weights` when the pretraining is finished.
    """

    paper: ClassVar[str]
    weights: Path | None = None
    start: AnyStart | None = None

    @final
    def build(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """Build a new network. Random weights come from torch's global generator, which `engine.randomness` controls.

        Raises:
            UserError: the architecture does not support such images, the weights are not available or belong to another
                network, or a pretraining is not finished.
        """
        if self.weights is None and self.start is not None:
            raise UserError(
                "This network is to start from weights that are not there yet. Audits make them first; in Python, "
                "`trapmid.starts.make_start` does, and `trapmid.starts.started` names them."
            )
        if self.weights is None:
            return self.network(num_classes, image_size, channels)
        network = self.without_pretraining().network(num_classes, image_size, channels)
        network.notes = initialise(network, self.weights, network.heads, network.own_name)
        return network

    @abstractmethod
    def network(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """The network that `build` returns if `weights` is None."""

    @property
    def is_pretrained(self) -> bool:
        """Whether training starts from weights that were learned on other images."""
        return self.weights is not None or self.start is not None or bool(getattr(self, "pretrained", False))

    def without_pretraining(self) -> "ModelConfig":
        """The same architecture without initial weights.

        Its `build` needs no download and no file. Weights are loaded afterwards.
        """
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in STARTS if name in fields})
