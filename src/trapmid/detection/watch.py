"""A model that is served, with an eye on what it is shown: no second forward pass, bounded memory (Trap-MID Sec. 4.2, as a service)."""

from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from trapmid.detection.calibration import Calibration
from trapmid.trapdoor import likeness
from trapmid.types import HasLogits, Images, prediction_of


class Alarm(NamedTuple):
    """A window with more flagged images than clean ones would have.

    Attributes:
        images: in the window.
        flagged: of them.
        chance: how likely so many are, if all are clean (`Calibration.chance`).
        seen: images shown up to the end of the window.
    """

    images: int
    flagged: int
    chance: float
    seen: int


@final
class Watched(nn.Module):
    """Answers as the model does, to the bit, and counts how many images score above the detector's threshold.

    Images are counted in windows one after the other. When one is full, its count is weighed, and an alarm is raised if clean images
    would give as many less often than `level`: about one false alarm in 1 / level windows, for as long as what is served resembles the
    calibration images. Between two windows nothing leaves the device, so that a GPU is not waited for. Signatures are no part of
    `state_dict`, which therefore may be published as the model's; a pickle of the whole module holds them.

    Args:
        model: the classifier, in eval mode.
        signatures: (num_classes, d), of unit length.
        calibration: says which scores are flagged and how unlikely they are.
        window: images after which they are weighed; a batch is not divided.
        level: chance below which an alarm is raised.
        on_alarm: called with each alarm, by the thread whose batch filled the window.

    Attributes:
        seen: images shown so far.
        alarms: how many were raised.
        last_alarm: the latest.
    """

    _signatures: Tensor
    _in_window: Tensor

    def __init__(
        self,
        model: nn.Module,
        signatures: Tensor,
        calibration: Calibration,
        *,
        window: int = 1000,
        level: float = 1e-3,
        on_alarm: Callable[[Alarm], None] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        device = next(model.parameters()).device
        self.register_buffer("_signatures", signatures.to(device), persistent=False)
        self.register_buffer("_in_window", torch.zeros((), dtype=torch.int64, device=device), persistent=False)
        self._calibration, self._window, self._level, self._on_alarm = calibration, window, level, on_alarm
        self._lock = Lock()
        self.seen, self.alarms, self._open, self._flagged = 0, 0, 0, 0
        self.last_alarm: Alarm | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which belongs to a process."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The inverse of `__getstate__`."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._lock = Lock()

    @property
    def flagged(self) -> int:
        """Images above the threshold so far; waits for the device."""
        with self._lock:
            return self._flagged + int(self._in_window)

    def forward(self, images: Images) -> Tensor | HasLogits:
        """What the model says, unchanged."""
        said: Tensor | HasLogits = self.model(images)
        alarm = self._count(said)
        if alarm is not None and self._on_alarm is not None:
            self._on_alarm(alarm)
        return said

    @torch.no_grad()
    def _count(self, said: Tensor | HasLogits) -> Alarm | None:
        scores = likeness(prediction_of(said), self._signatures)
        flagged = self._calibration.flagged(scores).sum()
        with self._lock:
            self._in_window += flagged
            self.seen += len(scores)
            self._open += len(scores)
            return self._weigh() if self._open >= self._window else None

    def _weigh(self) -> Alarm | None:
        flagged, images = int(self._in_window), self._open
        self._flagged += flagged
        self._in_window.zero_()
        self._open = 0
        chance = self._calibration.chance(flagged, images)
        if chance >= self._level:
            return None
        self.alarms += 1
        self.last_alarm = Alarm(images, flagged, chance, self.seen)
        return self.last_alarm
