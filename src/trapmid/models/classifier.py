"""What every classifier here is: pictures in [0, 1] in, logits and features out, normalisation inside."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from trapmid.config import Config
from trapmid.types import Images, Prediction


class Classifier(nn.Module, ABC):
    """A network from images to identities.

    Attributes:
        num_classes: number of logits.
        image_size: height and width the network was built for, in pixels.
        channels: one or three.
        head: the last layer: linear, from features to logits.
    """

    head: nn.Module

    def __init__(self, num_classes: int, image_size: int, channels: int) -> None:
        super().__init__()
        self.num_classes, self.image_size, self.channels = num_classes, image_size, channels

    @abstractmethod
    def forward(self, images: Images) -> Prediction:
        """Logits (n, num_classes) and features (n, d) of images (n, channels, image_size, image_size) in [0, 1]."""


class ModelConfig(Config, ABC):
    """An architecture. `build` gives it random weights, or pretrained ones where the config says so."""

    paper: ClassVar[str]

    @abstractmethod
    def build(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """A new network. Weights come from torch's global generator, which `engine.randomness` governs."""
