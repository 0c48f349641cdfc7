"""The files of the defender of a small model with a trapdoor, which a fixture of tests/detection trains."""

from dataclasses import dataclass
from pathlib import Path

from trapmid.data import Split
from trapmid.defenses import TrainedModel
from trapmid.trapdoor import Secrets


@dataclass(frozen=True)
class Trapped:
    """The folder of private images, those of the model and its secrets, and what is in them."""

    private: Path
    folder: Path
    secrets_folder: Path
    split: Split
    model: TrainedModel
    secrets: Secrets
