"""No defense: plain cross-entropy, with the recipe's augmentation like everyone else."""

from collections.abc import Mapping
from typing import Literal, final

from torch import Tensor
from torch.nn import functional as F

from trapmid.defenses.defense import Defense, DefenseRun, Setting
from trapmid.types import Images, Labels, logits_of


@final
class NoDefense(Defense):
    """`none`: the unprotected classifier that every table starts with.

    The authors train it without augmentation; here it gets the recipe's, so that no comparison is confounded by it.
    """

    paper = "Trap-MID, Sec. 4.1 (unprotected)"
    kind: Literal["none"] = "none"

    def start(self, setting: Setting) -> DefenseRun:
        """See `NoDefenseRun`."""
        return NoDefenseRun(setting)


@final
class NoDefenseRun(DefenseRun):
    """One plain training."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def losses(self, images: Images, labels: Labels) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Cross-entropy."""
        logits = logits_of(self.setting.model(self.setting.augment(images)))
        return {"clean": F.cross_entropy(logits, labels)}, {
            "accuracy_in_batch": (logits.argmax(1) == labels).float().mean()
        }

    def calibration(self, images: Images) -> Tensor:
        """Augmented images."""
        return self.setting.augment(images)
