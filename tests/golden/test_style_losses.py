"""Refactors keep the losses of a tiny StyleGAN2 training."""

import json

import pytest

from helpers_attacks.golden import FILE, style_losses

GOLDEN = json.loads(FILE.read_text())


def test_losses_are_as_recorded() -> None:
    found = style_losses()
    assert len(found) == len(GOLDEN["losses"]) == 3
    for row, golden in zip(found, GOLDEN["losses"], strict=True):
        assert row == pytest.approx(golden, rel=1e-3), f"If the change is meant: {GOLDEN['regenerate']}"
