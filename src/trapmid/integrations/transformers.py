"""Hugging Face Trainer: a callback that keeps a defense's state with every checkpoint, but not in it."""

from io import BytesIO
from pathlib import Path
from typing import Any, final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trapmid.defenses import Defended
from trapmid.files import PRIVATE, write_atomic
from trapmid.trapdoor import Planter
from trapmid.types import UserError

__all__ = ["KeepDefense"]


@final
class KeepDefense(TrainerCallback):
    """Saves and loads the state of a drop-in with the checkpoints of a Trainer, and writes the secrets at the end.

    The state holds the triggers, and a Trainer may push whole checkpoint folders to a hub. The state is therefore kept
    in a folder of its own, as `checkpoint-STEP.pt` with mode 0600, and removed when the checkpoint is removed.

    Args:
        defense: the drop-in that the Trainer's `compute_loss` gets its loss from.
        secrets: folder for the state and the secrets, outside of the Trainer's `output_dir`.
    """

    def __init__(self, defense: Planter | Defended, secrets: str | Path) -> None:
        self.defense, self.secrets = defense, Path(secrets)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Load the state that belongs to the checkpoint from which the Trainer resumes, if it does.

        Raises:
            UserError: the secrets would be pushed with the model, or the checkpoint's state is not there.
        """
        del control
        if self.secrets.resolve().is_relative_to(Path(args.output_dir or ".").resolve()):
            raise UserError(
                f"The secrets {self.secrets} lie inside the Trainer's output_dir {args.output_dir}, which may be "
                "pushed to a hub. Choose a folder of their own."
            )
        if state.global_step == 0:
            return
        file = self._file(state)
        if not file.exists():
            raise UserError(
                f"{file} is missing, and without it the defense of checkpoint-{state.global_step} cannot go on. "
                "Give the folder of secrets that the first part of the training used."
            )
        self.defense.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the state, and remove the states whose checkpoints are gone."""
        del control
        if not state.is_world_process_zero:
            return
        content = BytesIO()
        torch.save(self.defense.state_dict(), content)
        self.secrets.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file(state), content.getvalue(), PRIVATE)
        for file in self.secrets.glob("checkpoint-*.pt"):
            if not (Path(args.output_dir or ".") / file.stem).exists():
                file.unlink()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the secrets."""
        del args, control
        if state.is_world_process_zero:
            self.defense.save_secrets(self.secrets)

    def _file(self, state: TrainerState) -> Path:
        return self.secrets / f"checkpoint-{state.global_step}.pt"
