"""The tiny trainings whose losses tests/golden/trainings.json records."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from helpers.faces import CPU, TINY, quick_training, tiny_private, tiny_public
from helpers.runs import log_of, without_seconds
from helpers_attacks import TINY_DCGAN, TINY_GAN, TINY_SEMIGAN
from trapmid.defenses import DEFENSES, train

FILE = Path(__file__).parent.parent / "golden" / "trainings.json"


def losses(defense: str) -> list[dict[str, float]]:
    """The losses of each of four epochs of four steps: five identities at 32 px, seed 0, all other constants the paper's."""
    (kind,) = (member for member in DEFENSES if member.model_fields["kind"].default == defense)
    with TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        train(
            target, tiny_private(), model=TINY, defense=kind(), training=quick_training(epochs=4), seed=0, compute=CPU
        )
        rows = log_of(target)
    return [{name: value for name, value in row.items() if name == "step" or name.startswith("loss_")} for row in rows]


def prior_losses(prior: str) -> list[dict[str, float]]:
    """The losses of each third of twelve steps of a tiny pair: seed 0, three classes, made-up soft labels."""
    public = tiny_public()
    soft_labels = torch.rand(len(public), 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    gan = {
        "cgan": lambda: TINY_GAN.fit(public, 3, seed=0, compute=CPU),
        "dcgan": lambda: TINY_DCGAN.fit(public, 3, seed=0, compute=CPU),
        "semigan": lambda: TINY_SEMIGAN.fit(public, soft_labels, seed=0, compute=CPU),
    }[prior]()
    return without_seconds(gan.rows)
