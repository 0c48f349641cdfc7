"""Trap-MID with dominant triggers: a trigger counts for more than the person, in many views of an image."""

from typing import Literal, final

from trapmid.config import Count, NonNegative, Positive, PositiveShare
from trapmid.defenses.planting import Planting
from trapmid.trapdoor import BlendSchedule, OnePassSettings, OnePassTrapdoor, Planter


@final
class Dominant(OnePassSettings, Planting):
    """`dominant`: Trap-MID with triggers that count for more than the person, against attackers who average over views.

    An attacker who averages the gradient over views of an image (`aligned`) loses a faint trigger and keeps the person.
    These triggers have blocks of equal pixels, which survive such views, and the classifier learns them with a margin
    several times that of a face. They do not look like their people, as those of `anonymous`, so the network has to
    start pretrained. Everything is trained in one pass. Combine it with `negls`: `dominant+negls`. It costs more clean
    accuracy than Trap-MID (docs/results.md).
    """

    title = "Trap-MID with dominant triggers"
    paper = "none: after Trap-MID (Liu & Chen, NeurIPS 2024)"
    kind: Literal["dominant"] = "dominant"
    blend: BlendSchedule = BlendSchedule(start=0.2, end=0.1, until=0.6)
    poisoned_share: PositiveShare = 1.0
    poisoned_temperature: Positive = 4.0
    trigger_block: Count = 2
    trigger_period: Count = 2
    anonymity_weight: NonNegative = 1.0

    def planter(self) -> type[Planter]:
        """Everything in one pass."""
        return OnePassTrapdoor
