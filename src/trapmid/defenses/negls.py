"""NegLS (Struppek et al., ICLR 2024): negative label smoothing, phased in over the second half of the training."""

from typing import Literal, final

from pydantic import Field

from trapmid.config import Deviation, Share
from trapmid.defenses.smoothing import Smoothing


@final
class NegLS(Smoothing):
    """`negls`: labels are smoothed by a negative amount, so that confidence in the other classes costs more.

    The schedule is that of Trap-MID, App. C.6, with its epochs 50 and 75 of 100 as shares. The published setting trains
    for 100 epochs in batches of 128 with Adam, at a rate of 1e-3 that falls to a tenth at 75 % and to a hundredth at 90
    % of the epochs, without weight decay.

    Attributes:
        smoothing: a in `smoothed_cross_entropy`, at full strength.
        start_at: share of the epochs with plain cross-entropy.
        full_at: share of the epochs after which the smoothing has its full strength. Until then it rises linearly, with
            the default shares to one half, and then jumps.
    """

    title = "NegLS"
    paper = "NegLS (Struppek et al., ICLR 2024); schedule as in Trap-MID, App. C.6"
    deviations = (
        Deviation(
            "optimizer and schedule",
            "Adam at 1e-3, 100 epochs in batches of 128, a tenth after 75 and 90 epochs",
            "the recipe's, for every defense",
            "otherwise, a comparison of defenses would also compare optimizers",
        ),
    )
    kind: Literal["negls"] = "negls"
    smoothing: float = Field(-0.05, ge=-1e3, le=0.0)
    start_at: Share = 0.5
    full_at: Share = 0.75

    def strength(self, epoch: int, epochs: int) -> float:
        """The share of `smoothing` in an epoch (Trap-MID, App. C.6).

        It is 0 before `start_at`, then (epoch + 1 - start) / (epochs - start), and 1 from `full_at` on.
        """
        start, full = int(self.start_at * epochs), int(self.full_at * epochs)
        if epoch >= full:
            return 1.0
        return (epoch + 1 - start) / (epochs - start) if epoch >= start else 0.0

    def smoothing_at(self, epoch: int, epochs: int) -> float:
        """The smoothing in an epoch according to the schedule."""
        return self.strength(epoch, epochs) * self.smoothing
