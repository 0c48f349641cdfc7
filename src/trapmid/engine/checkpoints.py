"""Checkpoints that a crash cannot damage, and the best state of a run so far."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trapmid.files import PRIVATE, replacing
from trapmid.types import Stateful, UserError

LATEST = "checkpoint.pt"


class BestState:
    """The weights with the best score so far. It is part of a loop's state, so that a resumed run still has them.

    Attributes:
        score: the best score, higher is better; minus infinity before the first offer.
        step: the step that reached it.
        weights: the states of the parts at that step, by name.
    """

    def __init__(self) -> None:
        self.score = float("-inf")
        self.step = 0
        self.weights: dict[str, dict[str, Any]] = {}

    def offer(self, score: float, step: int, parts: Mapping[str, Stateful]) -> bool:
        """Keep a copy of `parts` if `score` is higher than every earlier score.

        If two scores are equal, the earlier one is kept, as in the authors' code. Returns whether the copy was made.
        """
        if score <= self.score:
            return False
        self.score, self.step = score, step
        self.weights = {name: copy.deepcopy(dict(part.state_dict())) for name, part in parts.items()}
        return True

    def restore(self, parts: Mapping[str, Stateful]) -> None:
        """Load the kept states into `parts`."""
        for name, part in parts.items():
            part.load_state_dict(self.weights[name])

    def state_dict(self) -> dict[str, Any]:
        """The score, the step and the weights."""
        return {"score": self.score, "step": self.step, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.score, self.step, self.weights = state_dict["score"], state_dict["step"], state_dict["weights"]


def save_checkpoint(
    file: Path, step: int, seconds: float, state: Mapping[str, Stateful], period: Stateful | None = None
) -> None:
    """Write a checkpoint. A crash at any moment leaves either the old file or the new one, complete.

    Only its owner can read the file (mode 0600), because the checkpoints of a trapdoor's training hold the triggers.

    Args:
        file: the checkpoint.
        step: the number of completed steps.
        seconds: the time spent on them.
        state: what is saved, by name.
        period: what was computed for the next row of the log so far.
    """
    content: dict[str, Any] = {"step": step, "seconds": seconds}
    content["state"] = {name: part.state_dict() for name, part in state.items()}
    if period is not None:
        content["period"] = period.state_dict()
    with replacing(file, PRIVATE) as stream:
        torch.save(content, stream)


def load_checkpoint(file: Path, state: Mapping[str, Stateful], period: Stateful | None = None) -> tuple[int, float]:
    """Load a checkpoint into `state`, and into `period` what it holds for the next row of the log.

    Returns:
        The number of completed steps and the seconds spent on them.

    Raises:
        UserError: the checkpoint holds other parts than `state`.
    """
    saved = torch.load(file, weights_only=True, map_location="cpu")
    if saved["state"].keys() != state.keys():
        raise UserError(
            f"{file} is a checkpoint of another run: it holds {sorted(saved['state'])}, expected {sorted(state)}. "
            "Remove it or choose another --out."
        )
    for name, part in state.items():
        part.load_state_dict(saved["state"][name])
    if period is not None and "period" in saved:  # earlier versions had only whole periods
        period.load_state_dict(saved["period"])
    return int(saved["step"]), float(saved["seconds"])
