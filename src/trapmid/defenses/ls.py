"""Label smoothing (Szegedy et al., CVPR 2016): not a defense but the control for NegLS, since it helps an inversion."""

from typing import Literal, final

from trapmid.config import Share
from trapmid.defenses.smoothing import Smoothing


@final
class LS(Smoothing):
    """`ls`: positive label smoothing, the opposite of `negls`.

    Attributes:
        smoothing: a, the share of each label that is spread evenly over all classes.
    """

    title = "Label smoothing"
    paper = "Label smoothing (Szegedy et al., CVPR 2016; as a control in Struppek et al., ICLR 2024)"
    kind: Literal["ls"] = "ls"
    smoothing: Share = 0.1

    def smoothing_at(self, epoch: int, epochs: int) -> float:
        """The same in every epoch."""
        del epoch, epochs
        return self.smoothing
