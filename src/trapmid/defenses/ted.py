"""TeD (Shan et al., CCS 2020) as in Trap-MID, App. D.1: trapdoors of five squares, fixed or optimised."""

from typing import Literal, final

from trapmid.config import CountOrZero, Share
from trapmid.defenses.planting import Planting
from trapmid.trapdoor import Planter, Trapdoor
from trapmid.trapdoor.triggers import BlendSchedule, TriggerStart


@final
class TeD(Planting):
    """`ted`: the trigger of each identity is five random squares, which never move.

    The Trap-MID paper tries blend ratios of 0.1 and 0.2 (`blend.end`) and trains without augmentation; here the
    recipe's is used. The original TeD has triggers of seven clusters of 3 x 3 pixels and plants them after a normal
    training.
    """

    title = "TeD"
    paper = "TeD (Shan et al., CCS 2020) as in Trap-MID, App. D.1"
    kind: Literal["ted"] = "ted"
    blend: BlendSchedule = BlendSchedule(end=0.1)
    weight: Share = 0.5
    trigger_start: TriggerStart = "squares"
    trigger_updates: CountOrZero = 0

    def planter(self) -> type[Planter]:
        """The published order."""
        return Trapdoor


@final
class TeDPlus(Planting):
    """`ted+`: the same squares with Trap-MID's blend ratio, weight, augmentation and trigger optimisation."""

    title = "TeD+"
    paper = "TeD+ (Liu & Chen, NeurIPS 2024), App. D.1"
    kind: Literal["ted+"] = "ted+"
    trigger_start: TriggerStart = "squares"

    def planter(self) -> type[Planter]:
        """The published order."""
        return Trapdoor
