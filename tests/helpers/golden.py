"""The tiny trainings and surrogates whose losses the files of tests/golden record."""

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import helpers_attacks
from helpers.faces import CPU, network_for, quick_training, tiny_private, tiny_public
from helpers.precision import in_double_precision
from helpers.runs import log_of, without_seconds
from helpers_attacks import TINY_DCGAN, TINY_GAN, TINY_SEMIGAN, TINY_TACGAN, faces, target_of
from trapmid.attacks import Run
from trapmid.attacks.surrogates import SurrogateTraining
from trapmid.defenses import DEFENSES, MID, MIDRE, TL, BiDO, Defense, train
from trapmid.engine import randomness
from trapmid.priors import PriorTraining

FILE = Path(__file__).parent.parent / "golden" / "trainings.json"
SURROGATES = FILE.with_name("surrogates.json")


OPTIONS: tuple[Defense, ...] = (
    MID(features="drawn"),
    BiDO(sampler="anew"),
    MIDRE(area=(0.1, 0.4), fill="training"),
    TL(layers="share", statistics="frozen"),
)
"""Defenses whose losses were recorded with these options, which the CPU recipes name.

All others have their defaults.
"""


def losses(kind: str) -> list[dict[str, float]]:
    """The losses of each of four epochs of four steps.

    There are five identities at 32 px, seed 0, all other constants the paper's.

    Triggers move by the signs of gradients. In float32 some gradient is as small as its rounding error, and each
    processor takes another sign. A defense with triggers is therefore trained in float64, and so is one whose
    adversarial images move by signs. So is MID: random normal numbers in float32 depend on the instructions of the
    processor by up to 2e-6, which its noise turns into 3e-3.
    """
    named = next((one for one in OPTIONS if one.kind == kind), None)
    defense = named or DEFENSES.member(kind).model_validate({})
    in_double = defense.has_trapdoor or kind in ("atat", "mid")
    precision = in_double_precision() if in_double else nullcontext()
    with TemporaryDirectory() as folder, precision:
        target = Path(folder) / "model"
        options = {"training": quick_training(epochs=4), "seed": 0, "compute": CPU}
        train(target, tiny_private(), model=network_for(kind), defense=defense, **options)  # type: ignore[arg-type]
        rows = log_of(target)
    return [{name: value for name, value in row.items() if name == "step" or name.startswith("loss_")} for row in rows]


def surrogate_row(kind: str) -> dict[str, float]:
    """The mean losses and the agreement of six steps on 32 public images.

    Their rate moves losses well beyond rounding.
    """
    with randomness(0, "golden target"):
        target = target_of(helpers_attacks.TINY.build(4, 32, 3).eval())
    method = helpers_attacks.TINY_ATTACKS[kind]
    assert isinstance(method, SurrogateTraining)
    with TemporaryDirectory() as folder:
        method.model_copy(update={"steps": 6, "rate": 1e-2}).stand_in(
            target, faces(8, 4, first=100), Run(0, CPU, Path(folder))
        )
        (row,) = log_of(Path(folder) / "surrogate")
    return row


GANS = ("cgan", "dcgan", "semigan", "tacgan")
"""Priors whose losses are recorded here; StyleGAN2 has a file of its own."""


def prior_losses(prior: str) -> list[dict[str, float]]:
    """The losses of each third of twelve steps of a tiny pair: seed 0, three classes, made-up soft labels.

    Two pairs are trained in float64. The semi-supervised one turns the differences of random normal numbers (see
    `losses`) into 2e-3 in float32. TAC-GAN's target below changes its answer at single values of a mean, so a last bit
    in an image moves its losses by 2e-3.
    """
    with in_double_precision() if prior in ("semigan", "tacgan") else nullcontext():
        return _prior_losses(prior)


def _prior_losses(prior: str) -> list[dict[str, float]]:
    public = tiny_public()
    soft_labels = torch.rand(len(public), 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    gan = {
        "cgan": lambda: TINY_GAN.fit(PriorTraining(public, 3, 0, CPU)),
        "dcgan": lambda: TINY_DCGAN.fit(PriorTraining(public, 3, 0, CPU)),
        "semigan": lambda: TINY_SEMIGAN.fit(PriorTraining(public, 3, 0, CPU), soft_labels),
        "tacgan": lambda: TINY_TACGAN.model_copy(update={"iterations": 12}).fit(
            PriorTraining(public, 3, 0, CPU), lambda images: (images.mean((1, 2, 3)) * 999).long() % 3
        ),
    }[prior]()
    return without_seconds(gan.rows)
