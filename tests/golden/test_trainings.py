"""Refactors keep the numbers of the tiny trainings and surrogates."""

import json

import pytest

from helpers.golden import FILE, GANS, SURROGATES, losses, prior_losses, surrogate_row
from helpers_attacks import SURROGATE_KINDS
from trapmid.defenses import DEFENSES

GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("defense", [kind.model_fields["kind"].default for kind in DEFENSES])
def test_losses_are_as_recorded(defense: str) -> None:
    expected = GOLDEN["losses"][defense]
    found = losses(defense)
    assert len(found) == len(expected) == 4
    for row, golden in zip(found, expected, strict=True):
        assert row == pytest.approx(golden, rel=1e-4), (
            f"tolerance: {GOLDEN['tolerance']}. If the change is meant: {GOLDEN['regenerate']}"
        )


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
def test_surrogates_learn_as_recorded(kind: str) -> None:
    """Six steps against a target with random weights. Signs of gradients flip where they are nearly zero, hence the tolerance."""
    assert surrogate_row(kind) == pytest.approx(json.loads(SURROGATES.read_text())[kind], rel=1e-3)


@pytest.mark.parametrize("prior", GANS)
def test_losses_of_priors_are_as_recorded(prior: str) -> None:
    expected = GOLDEN["priors"][prior]
    found = prior_losses(prior)
    assert len(found) == len(expected) == 3
    for row, golden in zip(found, expected, strict=True):
        assert row == pytest.approx(golden, rel=1e-3, abs=1e-4), f"If the change is meant: {GOLDEN['regenerate']}"
