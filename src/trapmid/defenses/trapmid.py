"""Trap-MID (Liu & Chen, NeurIPS 2024): trapdoors that lead an inversion astray."""

from typing import Literal, final

from trapmid.defenses.planting import Planting
from trapmid.trapdoor import Planter, Trapdoor


@final
class TrapMID(Planting):
    """`trapmid`: the published defense, with the constants of App. C.4; `TrapdoorSettings` has its ablations."""

    title = "Trap-MID"
    paper = "Trap-MID (Liu & Chen, NeurIPS 2024), Eq. 2-5, Alg. 1"
    kind: Literal["trapmid"] = "trapmid"

    def planter(self) -> type[Planter]:
        """The published order."""
        return Trapdoor
