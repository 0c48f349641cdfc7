"""No defense: plain cross-entropy, with the recipe's augmentation as for every defense."""

from typing import Literal, final

from trapmid.defenses.changes import Changes
from trapmid.defenses.defense import Defense


@final
class NoDefense(Defense):
    """`none`: the unprotected classifier that every table starts with.

    The authors train it without augmentation. Here, it has the augmentation of the recipe, so that augmentation does
    not confound comparisons.
    """

    title = "Unprotected"
    paper = "Trap-MID, Sec. 4.1 (unprotected)"
    kind: Literal["none"] = "none"

    def changes(self) -> Changes:
        """None."""
        return Changes()
