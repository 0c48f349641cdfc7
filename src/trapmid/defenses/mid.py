"""MID (Wang et al., AAAI 2021): a variational information bottleneck before the last layer."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import NonNegative, Width
from trapmid.defenses.changes import Changes
from trapmid.defenses.defense import Defense
from trapmid.models import Classifier
from trapmid.models.vgg16 import VGG16Net
from trapmid.types import Images, Labels, Prediction, UserError


@final
class MID(Defense):
    """`mid`: features are drawn from a normal distribution that is kept near the standard one.

    The loss gains weight * KL(N(mean, deviation) || N(0, 1)). Features are drawn at test time as well, as in the
    authors' code; the draws come from torch's global generator.

    Attributes:
        weight: lambda, the weight of the divergence.
        width: k, the width of the bottleneck. Trap-MID, App. C.6 has 1024 for VGG-16 and 512 for Face.evoLVe and
            ResNet-152.
        features: the features that the network returns for attacks and detectors: those of the `body` before
            the bottleneck, as in the authors' code, or those `drawn` from the bottleneck.
    """

    title = "MID"
    paper = "MID (Wang et al., AAAI 2021); constants as in Trap-MID, App. C.6"
    kind: Literal["mid"] = "mid"
    weight: NonNegative = 0.003
    width: Width = 1024
    features: Literal["body", "drawn"] = "body"

    def changes(self) -> Changes:
        """Another network, whose last layer reads the bottleneck, and a term that keeps the bottleneck narrow."""
        return Changes(network=self.with_bottleneck, terms=(self.information,))

    def with_bottleneck(self, model: Classifier) -> Classifier:
        """The same body with a bottleneck before the last layer."""
        return BottleneckNet(model, self.width, drawn=self.features == "drawn")

    def information(self, prediction: Prediction, images: Images, labels: Labels) -> Mapping[str, Tensor]:
        """The KL divergence of the bottleneck from the standard normal distribution, mean over the batch, weighted.

        Raises:
            UserError: the classifier has no bottleneck.
        """
        del images, labels
        if prediction.posterior is None:
            raise UserError(
                "mid reads the bottleneck of a classifier, and this classifier has none. Train "
                "`MID().with_bottleneck(classifier)` instead."
            )
        return {"information": self.weight * divergence(*prediction.posterior).mean()}


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """(n,): KL(N(mean, deviation) || N(0, 1)) in nats, summed over the k dimensions of (n, k)."""
    return -0.5 * (1 + 2 * deviation.log() - mean.square() - deviation.square()).sum(1)


class BottleneckNet(Classifier):
    """A classifier whose last layer reads z = mean + deviation * N(0, I) (Trap-MID, App. C.6).

    One linear layer gives the mean and s, with deviation = softplus(s - 5).
    """

    def __init__(self, body: Classifier, width: int, *, drawn: bool) -> None:
        super().__init__(body.num_classes, body.image_size, body.channels)
        self.body, self.drawn = body, drawn
        assert isinstance(body.head, nn.Linear)
        self.encoder = nn.Linear(body.head.in_features, 2 * width)
        self.head = nn.Linear(width, body.num_classes)
        body.head = nn.Identity()
        if isinstance(body, VGG16Net):
            body.add_module("norm", nn.Identity())  # the published bottleneck reads the pooled maps

    def forward(self, images: Images) -> Prediction:
        """Features are z where `drawn` is true, and the body's otherwise."""
        inner = self.body(images)
        mean, raw = self.encoder(inner.features).chunk(2, 1)
        deviation = F.softplus(raw - 5)
        drawn = mean + deviation * torch.randn_like(mean)
        features = drawn if self.drawn else inner.features
        return Prediction(self.head(drawn), features, inner.hidden, (mean, deviation))
