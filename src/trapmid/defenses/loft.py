"""LoFt, of CALoR: a narrow layer before the last one lets little of a face through."""

from typing import Literal, final

from torch import nn

from trapmid.config import Deviation, Width
from trapmid.defenses.changes import Changes
from trapmid.defenses.defense import Defense
from trapmid.models import Classifier
from trapmid.types import Images, Prediction


@final
class LoFt(Defense):
    """`loft`: the last layer becomes a low-rank one: linear to `rank` dimensions, tanh, linear to the identities.

    Published for a ResNet-152 from MS-Celeb-1M weights on FaceScrub, trained for 100 epochs with Adam at 1e-3, a tenth
    of it after 75 and 90 epochs, in batches of 96. CALoR, the whole of which LoFt is a part, fine-tunes with another
    loss, whose formula is not public.

    Attributes:
        rank: width of the narrow layer; the authors try 20 to 500.
    """

    title = "LoFt"
    paper = "LoFt, of CALoR: scripts of the authors"
    deviations = (
        Deviation(
            "order of the layers",
            "not known for certain: the code that builds the network is not public",
            "linear, tanh, linear",
            "the only order in which a tanh matters",
        ),
        Deviation(
            "optimizer and schedule",
            "Adam at 1e-3, 100 epochs in batches of 96, a tenth after 75 and 90 epochs",
            "the recipe's, for every defense",
            "otherwise, a comparison of defenses would also compare optimizers",
        ),
        Deviation(
            "CALoR's fine-tuning",
            "an inverse focal loss with exponent 8",
            "none",
            "its formula is not public",
        ),
    )
    kind: Literal["loft"] = "loft"
    rank: Width = 50

    def changes(self) -> Changes:
        """Another network, whose last layer has a low rank."""
        return Changes(network=self.with_low_rank)

    def with_low_rank(self, model: Classifier) -> Classifier:
        """The same body with a narrow layer before the last one."""
        return LowRankNet(model, self.rank)


class LowRankNet(Classifier):
    """A classifier whose logits are a linear function of `rank` numbers between -1 and 1."""

    def __init__(self, body: Classifier, rank: int) -> None:
        super().__init__(body.num_classes, body.image_size, body.channels)
        assert isinstance(body.head, nn.Linear)
        self.body, self.narrow = body, nn.Linear(body.head.in_features, rank)
        self.head = nn.Linear(rank, body.num_classes)
        body.head = nn.Identity()

    def forward(self, images: Images) -> Prediction:
        """Features are the `rank` numbers, which the last layer reads."""
        inner = self.body(images)
        squeezed = self.narrow(inner.logits).tanh()  # the body's head is the identity
        return inner._replace(logits=self.head(squeezed), features=squeezed)
