"""NegLS (Struppek et al., ICLR 2024): negative label smoothing, phased in over the second half of the training (reference 2.4, 3)."""

from typing import Literal, final

from pydantic import Field

from trapmid.config import Share
from trapmid.defenses.smoothing import Smoothing
from trapmid.objective import Objective


@final
class NegLS(Smoothing):
    """`negls`: the classifier is punished for any confidence it leaves to the other classes.

    The schedule is the published one with its steps as shares of the epochs: 50 and 75 out of 100. Published with Adam
    (rate 1e-3, x0.1 at 75 % and 90 % of the epochs, no weight decay), batch 128, 100 epochs.

    Attributes:
        smoothing: a, at its full strength.
        start_at: share of the epochs with plain cross-entropy.
        full_at: share of the epochs after which it is at full strength; until then it rises linearly to half and then jumps.
    """

    title = "NegLS"
    paper = "NegLS (Struppek et al., ICLR 2024); schedule as in Trap-MID, App. C.6"
    kind: Literal["negls"] = "negls"
    smoothing: float = Field(-0.05, ge=-1e3, le=0.0)
    start_at: Share = 0.5
    full_at: Share = 0.75

    def strength(self, epoch: int, epochs: int) -> float:
        """s in a = s * `smoothing`: 0 before `start`, (epoch + 1 - start) / (epochs - start) before `full`, then 1."""
        start, full = int(self.start_at * epochs), int(self.full_at * epochs)
        if epoch >= full:
            return 1.0
        return (epoch + 1 - start) / (epochs - start) if epoch >= start else 0.0

    def objective(self, objective: Objective, epoch: int, epochs: int) -> Objective:
        """Smoothed as strongly as the schedule says."""
        return self.smooth(objective, self.strength(epoch, epochs) * self.smoothing)
