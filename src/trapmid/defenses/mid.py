"""MID (Wang et al., AAAI 2021): a variational information bottleneck before the last layer, which limits what an answer says about its input."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import NonNegative, Width
from trapmid.defenses.defense import Modifier
from trapmid.models import Classifier
from trapmid.models.vgg16 import VGG16Net
from trapmid.objective import Objective
from trapmid.types import Images, Labels, Prediction, UserError


@final
class MID(Modifier):
    """`mid`: features are drawn from a normal distribution that is kept near the standard one; at test time, too, as published.

    The loss gains weight * KL(N(mean, deviation) || N(0, 1)). Draws come from torch's global generator.

    Attributes:
        weight: lambda.
        width: of the bottleneck, k; the paper has 1024 for VGG-16, 512 for Face.evoLVe and ResNet-152.
    """

    title = "MID"
    paper = "MID (Wang et al., AAAI 2021); constants as in Trap-MID, App. C.6"
    kind: Literal["mid"] = "mid"
    weight: NonNegative = 0.003
    width: Width = 1024

    @property
    def is_in_its_losses(self) -> bool:
        """No: it builds another head."""
        return False

    def adapt(self, model: Classifier) -> Classifier:
        """The same body with a bottleneck for a head."""
        return BottleneckNet(model, self.width)

    def objective(self, objective: Objective, epoch: int, epochs: int) -> Objective:
        """The same in every epoch."""
        del epoch, epochs
        return objective.with_term(self.information)

    def information(self, prediction: Prediction, images: Images, labels: Labels) -> Mapping[str, Tensor]:
        """The bottleneck's KL divergence, mean over the batch, weighted.

        Raises:
            UserError: the classifier has no bottleneck.
        """
        del images, labels
        if prediction.posterior is None:
            raise UserError(
                "mid reads a bottleneck and this classifier has none. Put `MID.adapt(classifier)` in the classifier's place."
            )
        return {"information": self.weight * divergence(*prediction.posterior).mean()}


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """(n,): KL(N(mean, deviation) || N(0, 1)) in nats, summed over the k dimensions of (n, k)."""
    return -0.5 * (1 + 2 * deviation.log() - mean.square() - deviation.square()).sum(1)


class BottleneckNet(Classifier):
    """A classifier whose last layer reads z = mean + deviation * N(0, I), with deviation = softplus(s - 5), from one linear layer (reference 3)."""

    def __init__(self, body: Classifier, width: int) -> None:
        super().__init__(body.num_classes, body.image_size, body.channels)
        self.body = body
        assert isinstance(body.head, nn.Linear)
        self.encoder = nn.Linear(body.head.in_features, 2 * width)
        self.head = nn.Linear(width, body.num_classes)
        body.head = nn.Identity()
        if isinstance(body, VGG16Net):
            body.add_module("norm", nn.Identity())  # the published bottleneck reads the pooled maps

    def forward(self, images: Images) -> Prediction:
        """Features are z."""
        inner = self.body(images)
        mean, raw = self.encoder(inner.features).chunk(2, 1)
        deviation = F.softplus(raw - 5)
        drawn = mean + deviation * torch.randn_like(mean)
        return Prediction(self.head(drawn), drawn, inner.hidden, (mean, deviation))
