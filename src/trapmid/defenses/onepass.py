"""One-pass Trap-MID: trapdoors at about twice the cost of a plain training."""

from typing import Literal, final

from trapmid.defenses.planting import Planting
from trapmid.trapdoor import OnePassSettings, OnePassTrapdoor, Planter


@final
class OnePass(OnePassSettings, Planting):
    """`onepass`: Trap-MID on half of each batch, with trigger gradients from the classifier's own backward pass."""

    title = "One-pass Trap-MID"
    paper = (
        "none: after Trap-MID (Liu & Chen, NeurIPS 2024) and free adversarial training (Shafahi et al., NeurIPS 2019)"
    )
    kind: Literal["onepass"] = "onepass"

    def planter(self) -> type[Planter]:
        """Everything in one pass."""
        return OnePassTrapdoor
