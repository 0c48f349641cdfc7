"""How far the losses of tiny trainings are from those that tests/golden records. Only rounding moves them."""

import json
from functools import partial

from helpers import golden
from helpers.statistics.statistic import Statistic, below
from helpers_attacks import SURROGATE_KINDS
from helpers_attacks import golden as of_style
from trapmid.defenses import DEFENSES

REGENERATE = "If the change is meant: uv run python tests/golden/regenerate.py"


def deviation(found: list[dict[str, float]], expected: list[dict[str, float]]) -> dict[str, float]:
    """The largest difference of a loss from the recorded one, relative to the latter or to 0.1 if that is larger."""
    assert [row.keys() for row in found] == [row.keys() for row in expected], REGENERATE
    pairs = ((row[name], known[name]) for row, known in zip(found, expected, strict=True) for name in known)
    return {"deviation": max(abs(value - known) / max(abs(known), 0.1) for value, known in pairs)}


def of_defense(kind: str, seed: int) -> dict[str, float]:
    """The difference after four epochs of a defense's training."""
    return deviation(golden.losses(kind), json.loads(golden.FILE.read_text())["losses"][kind])


def of_surrogate(kind: str, seed: int) -> dict[str, float]:
    """The difference after six steps of a surrogate."""
    return deviation([golden.surrogate_row(kind)], [json.loads(golden.SURROGATES.read_text())[kind]])


def of_prior(kind: str, seed: int) -> dict[str, float]:
    """The difference after twelve steps of a GAN."""
    return deviation(golden.prior_losses(kind), json.loads(golden.FILE.read_text())["priors"][kind])


def of_stylegan(seed: int) -> dict[str, float]:
    """The difference after twelve steps of a StyleGAN2."""
    return deviation(of_style.style_losses(), json.loads(of_style.FILE.read_text())["losses"])


KINDS = [kind.model_fields["kind"].default for kind in DEFENSES]
RECORDED = {
    **{
        f"recorded losses of {kind}": Statistic(partial(of_defense, kind), {"deviation": below(1e-4)}) for kind in KINDS
    },
    **{
        f"recorded surrogate of {kind}": Statistic(partial(of_surrogate, kind), {"deviation": below(1e-3)})
        for kind in SURROGATE_KINDS
    },
    **{
        f"recorded losses of {kind}": Statistic(partial(of_prior, kind), {"deviation": below(1e-3)})
        for kind in golden.GANS
    },
    "recorded losses of stylegan2": Statistic(of_stylegan, {"deviation": below(1e-3)}),
}
