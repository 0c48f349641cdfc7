"""The contract of a classifier: images in [0, 1] in, logits and features out, normalisation inside."""

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
"""Fields that say where training starts from; everything else of a `ModelConfig` is the architecture."""


class Classifier(nn.Module, ABC):
    """A network from images to identities.

    Attributes:
        num_classes: number of logits.
        image_size: height and width the network was built for, in pixels.
        channels: one or three.
        head: the last layer: linear, from features to logits.
        heads: prefixes of the layers whose size depends on identities or image size; a weights file may lack or differ
            in them.
        notes: which of them a weights file left random.
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

        A network with an input size of its own takes images of any size and resizes them.
        """

    def own_name(self, name: str) -> str:
        """What is called here what others publish as `name`."""
        return name


def resized(images: Tensor, size: int) -> Tensor:
    """Images (n, c, h, w) at `size` pixels, bilinearly and without antialiasing.

    Those that have it are returned as they are.
    """
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


class ModelConfig(Config, ABC):
    """An architecture and the weights it starts from.

    Attributes:
        weights: a local file to start from, safetensors or a legacy checkpoint (`trapmid.models.weights`), instead of
            random or downloaded weights. Layers whose size depends on the identities start at random where they do not
            fit.
        start: a pretraining on public images that makes the weights to start from. `trapmid.starts.started` replaces it
            by `weights` once they are made.
    """

    paper: ClassVar[str]
    weights: Path | None = None
    start: AnyStart | None = None

    @final
    def build(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """A new network. Random weights come from torch's global generator, which `engine.randomness` governs.

        Raises:
            UserError: the architecture cannot take such images, the weights cannot be had or are another network's, or
                a start was not made.
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
        """What `build` gives where no `weights` are named."""

    def without_pretraining(self) -> "ModelConfig":
        """The architecture alone, whose `build` needs no download and no file; weights are loaded afterwards."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in STARTS if name in fields})
