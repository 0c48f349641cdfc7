"""Label smoothing (Szegedy et al., CVPR 2016): no defense but the control for NegLS, since positive smoothing helps an inversion."""

from typing import Literal, final

from trapmid.config import Share
from trapmid.defenses.smoothing import Smoothing
from trapmid.objective import Objective


@final
class LS(Smoothing):
    """`ls`: positive label smoothing, the opposite of `negls`.

    Attributes:
        smoothing: a, the share of the label that is spread over all classes.
    """

    title = "Label smoothing"
    paper = "Label smoothing (Szegedy et al., CVPR 2016; as a control in Struppek et al., ICLR 2024)"
    kind: Literal["ls"] = "ls"
    smoothing: Share = 0.1

    def objective(self, objective: Objective, epoch: int, epochs: int) -> Objective:
        """The same in every epoch."""
        del epoch, epochs
        return self.smooth(objective, self.smoothing)
