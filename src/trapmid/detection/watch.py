"""Watches what a served model is asked, without a second forward pass and in bounded memory.

The detection of Trap-MID, section 4.2, as a service.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from trapmid.detection.calibration import Calibration
from trapmid.trapdoor import signature_similarity
from trapmid.types import HasLogits, Images, UserError, prediction_of


class Alarm(NamedTuple):
    """A window of images of which more are flagged than can be expected of clean images.

    Attributes:
        images: how many images are in the window.
        flagged: how many of them are flagged.
        chance: how likely it is that as many clean images are flagged (`Calibration.chance`).
        seen: how many images the model had been shown at the end of the window.
    """

    images: int
    flagged: int
    chance: float
    seen: int


@final
class Watched(nn.Module):
    """Answers exactly as the model does, and counts how many images score above the detector's threshold.

    Images are counted in consecutive windows. At the end of a window, an alarm is raised if clean images would be
    flagged as often with a probability below `level`. This gives about one false alarm in 1 / level windows, as long as
    the images that are served resemble the calibration images. Images for which the model answers NaN count as flagged.
    Within a window nothing leaves the device, so a GPU does not have to wait. The signatures are not part of
    `state_dict`, so that can be published as the model's; a pickle of the whole module contains them.

    Args:
        model: the classifier, in eval mode.
        signatures: (num_classes, d), of unit length.
        calibration: decides which scores are flagged, and how unlikely their number is.
        window: images in a window, at least 1; a batch is not divided.
        level: the probability below which an alarm is raised, between 0 and 1.
        on_alarm: called with each alarm, by the thread whose batch filled the window.

    Attributes:
        seen: images shown so far.
        alarms: alarms raised so far.
        last_alarm: the latest alarm, or None.

    Raises:
        UserError: `window` or `level` is out of range.
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
        if not isinstance(window, int) or window < 1:
            raise UserError(
                f"A window of {window} images cannot be watched. Expected a whole number of at least 1, e.g. 1000."
            )
        if not 0 < level < 1:
            raise UserError(
                f"An alarm level of {level} is not a probability. Expected a number between 0 and 1, e.g. 0.001."
            )
        self.model = model
        device = next(model.parameters()).device
        self.register_buffer("_signatures", signatures.to(device), persistent=False)
        self.register_buffer("_in_window", torch.zeros((), dtype=torch.int64, device=device), persistent=False)
        self._calibration, self._window, self._level, self._on_alarm = calibration, window, level, on_alarm
        self._lock = Lock()
        self.seen, self.alarms, self._open, self._flagged = 0, 0, 0, 0
        self.last_alarm: Alarm | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All state except for the lock, which belongs to one process."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The inverse of `__getstate__`."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._lock = Lock()

    @property
    def flagged(self) -> int:
        """Images flagged so far. Reading this waits for the device."""
        with self._lock:
            return self._flagged + int(self._in_window)

    def forward(self, images: Images) -> Tensor | HasLogits:
        """What the model answers, unchanged."""
        said: Tensor | HasLogits = self.model(images)
        alarm = self._count(said)
        if alarm is not None and self._on_alarm is not None:
            self._on_alarm(alarm)
        return said

    @torch.no_grad()
    def _count(self, said: Tensor | HasLogits) -> Alarm | None:
        scores = signature_similarity(prediction_of(said), self._signatures)
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
