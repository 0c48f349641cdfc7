"""The tiny trainings whose losses tests/golden/trainings.json records."""

from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.faces import CPU, network_for, quick_training, tiny_private
from helpers.runs import log_of
from trapmid.defenses import DEFENSES, train

FILE = Path(__file__).parent.parent / "golden" / "trainings.json"


def losses(defense: str) -> list[dict[str, float]]:
    """The losses of each of four epochs of four steps: five identities at 32 px, seed 0, all other constants the paper's."""
    (kind,) = (member for member in DEFENSES if member.model_fields["kind"].default == defense)
    with TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        training = quick_training(epochs=4)
        train(
            target, tiny_private(), model=network_for(defense), defense=kind(), training=training, seed=0, compute=CPU
        )
        rows = log_of(target)
    return [{name: value for name, value in row.items() if name == "step" or name.startswith("loss_")} for row in rows]
