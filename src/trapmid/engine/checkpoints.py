"""Checkpoints that survive a crash at any moment, and the best state of a run so far."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trapmid.files import PRIVATE, replacing
from trapmid.types import Stateful, UserError

LATEST = "checkpoint.pt"


class BestState:
    """The weights of the best moment so far, by a score where higher is better."""

    def __init__(self) -> None:
        self.score = float("-inf")
        self.step = 0
        self.weights: dict[str, dict[str, Any]] = {}

    def offer(self, score: float, step: int, parts: Mapping[str, Stateful]) -> bool:
        """Keep a copy of `parts` if `score` beats every earlier one (ties keep the earlier, as the authors' code does)."""
        if score <= self.score:
            return False
        self.score, self.step = score, step
        self.weights = {name: copy.deepcopy(dict(part.state_dict())) for name, part in parts.items()}
        return True

    def restore(self, parts: Mapping[str, Stateful]) -> None:
        """Put the kept copy back into `parts`."""
        for name, part in parts.items():
            part.load_state_dict(self.weights[name])

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {"score": self.score, "step": self.step, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.score, self.step, self.weights = state_dict["score"], state_dict["step"], state_dict["weights"]


def save_checkpoint(file: Path, step: int, seconds: float, state: Mapping[str, Stateful]) -> None:
    """Write a checkpoint so that a crash at any moment leaves either the old or the new one.

    Its owner alone can read it (mode 0600): a trapdoor's holds the triggers.
    """
    with replacing(file, PRIVATE) as stream:
        torch.save(
            {"step": step, "seconds": seconds, "state": {name: part.state_dict() for name, part in state.items()}},
            stream,
        )


def load_checkpoint(file: Path, state: Mapping[str, Stateful]) -> tuple[int, float]:
    """Fill `state` from a checkpoint; returns its step and the seconds spent until then.

    Raises:
        UserError: the checkpoint is of another run.
    """
    saved = torch.load(file, weights_only=True, map_location="cpu")
    if saved["state"].keys() != state.keys():
        raise UserError(
            f"{file} is a checkpoint of another run: it holds {sorted(saved['state'])}, expected {sorted(state)}. Remove it or choose another --out."
        )
    for name, part in state.items():
        part.load_state_dict(saved["state"][name])
    return int(saved["step"]), float(saved["seconds"])
