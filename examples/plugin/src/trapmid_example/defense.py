"""A defense that changes the network: with bounded logits, no image makes the classifier arbitrarily confident."""

from typing import ClassVar, Literal

from torch import nn

from trapmid.config import Positive
from trapmid.defenses import Changes, Defense
from trapmid.models import Classifier
from trapmid.types import Images, Prediction


class Capped(Defense):
    """`capped`: logits pass cap * tanh(logit / cap).

    Attributes:
        cap: bound of every logit.
    """

    title: ClassVar[str] = "Capped logits"
    paper: ClassVar[str] = "trapmid's example of a plugin"
    kind: Literal["capped"] = "capped"
    cap: Positive = 10.0

    def changes(self) -> Changes:
        """The network, and nothing else."""
        return Changes(network=lambda model: CappedNet(model, self.cap))


class CappedNet(Classifier):
    """A classifier with bounded logits."""

    def __init__(self, body: Classifier, cap: float) -> None:
        super().__init__(body.num_classes, body.image_size, body.channels)
        self.body, self.head, self.cap = body, body.head, cap
        body.head = nn.Identity()  # the last layer is stored once

    def forward(self, images: Images) -> Prediction:
        """The body's features, and its logits within the cap."""
        inner = self.body(images)
        logits = self.head(inner.features)
        return Prediction(self.cap * (logits / self.cap).tanh(), inner.features, inner.hidden)
