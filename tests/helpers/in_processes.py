"""A network in double precision and defenses that fail in one process, for trainings in several processes."""

import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor, nn

from helpers.faces import network_for, quick_training, tiny_private
from trapmid.artifacts import Draft
from trapmid.defenses import Defense
from trapmid.defenses.changes import Changes
from trapmid.defenses.runs import PlainRun
from trapmid.defenses.training import _fit
from trapmid.engine import Compute, Progress
from trapmid.models import Classifier, ModelConfig
from trapmid.together import rank
from trapmid.types import Images, Labels, Prediction, UserError


class PreciseNetwork(Classifier):
    """Without batch norm, with a hidden map for the defenses that need one."""

    def __init__(self, num_classes: int, image_size: int, channels: int) -> None:
        super().__init__(num_classes, image_size, channels)
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3, 4, 1), nn.Tanh())
        self.head = nn.Linear(4 * (image_size // 4) ** 2, num_classes)
        self.double()

    def forward(self, images: Images) -> Prediction:
        """Logits, features and the map."""
        maps = self.body(images.double())
        return Prediction(self.head(maps.flatten(1)), maps.flatten(1), (maps,))


class Precise(ModelConfig):
    """The config of that network."""

    paper: ClassVar[str] = "-"
    kind: Literal["precise"] = "precise"

    def network(self, num_classes: int, image_size: int, channels: int) -> Classifier:
        """The network with random weights."""
        return PreciseNetwork(num_classes, image_size, channels)


class FailsInOneProcess(Defense):
    """No defense, until the second process fails in its third step."""

    title = "fails"
    paper = "-"
    kind: Literal["fails"] = "fails"
    killed: bool = False

    def changes(self) -> Changes:
        """Losses that fail."""
        return Changes(run=partial(_FailingRun, self.killed))


class _FailingRun(PlainRun):  # type: ignore[misc]
    def __init__(self, killed: bool, context: object) -> None:
        super().__init__(context)  # type: ignore[arg-type]
        self.killed, self.done = killed, 0

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The plain losses, or the end."""
        self.done += 1
        if rank() == 1 and self.done == 3:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise UserError("The second process has had enough.")
        return super().losses(images, labels, epoch)


def trained_one_after_another(
    folder: Path, defenses: Sequence[Defense], *, compute: Compute, progress: Progress
) -> dict[str, str]:
    """The part of one process in short trainings with batch norm. Returns the errors by kind of defense."""
    errors = {}
    for defense in defenses:
        draft = Draft(folder / defense.kind, "model", {"seed": 0}, {"data": defense.kind})
        try:
            _fit(
                draft,
                tiny_private(),
                network_for(defense.kind),
                defense,
                quick_training(epochs=1),
                0,
                folder / f"{defense.kind}-secrets",
                compute=compute,
                progress=progress,
            )
        except Exception as problem:
            errors[defense.kind] = str(problem)
    return errors
