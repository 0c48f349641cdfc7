"""Anonymous Trap-MID: trapdoors whose triggers do not look like the people whose classes they open."""

from typing import Literal, final

from trapmid.config import NonNegative, Share
from trapmid.defenses.planting import Planting
from trapmid.trapdoor import BlendSchedule, Planter, Trapdoor


@final
class Anonymous(Planting):
    """`anonymous`: Trap-MID with triggers that a face recogniser does not take for their people.

    The published triggers become features of their people, so an attack that finds the trigger shows a part of the
    person. These also step away from the person, in the eyes of the network as it is before the training. It therefore
    has to start pretrained. The constants were chosen on real faces in trainings of a few thousand steps. PLG-MI finds
    fewer people than with Trap-MID, and aligned gradients find no fewer (docs/results.md).
    """

    title = "Anonymous Trap-MID"
    paper = "none: after Trap-MID (Liu & Chen, NeurIPS 2024)"
    kind: Literal["anonymous"] = "anonymous"
    blend: BlendSchedule = BlendSchedule(start=0.2, end=0.1, until=0.6)
    weight: Share = 0.3
    trigger_step_end: NonNegative | None = 0.0
    anonymity_weight: NonNegative = 1.0

    def planter(self) -> type[Planter]:
        """The published order."""
        return Trapdoor
