"""No defense: plain cross-entropy, with the recipe's augmentation like everyone else."""

from typing import Literal, final

from trapmid.defenses.defense import Modifier


@final
class NoDefense(Modifier):
    """`none`: the unprotected classifier that every table starts with.

    The authors train it without augmentation; here it gets the recipe's, so that no comparison is confounded by it.
    """

    title = "Unprotected"
    paper = "Trap-MID, Sec. 4.1 (unprotected)"
    kind: Literal["none"] = "none"
