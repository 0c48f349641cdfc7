"""The contract checks of trapmid on every member of this package."""

from pathlib import Path

import numpy as np
import pytest
from trapmid_example.attack import PublicMean
from trapmid_example.defense import Capped
from trapmid_example.metric import MEAN_IMAGE_DISTANCE
from trapmid_example.reader import NpzSource

from trapmid.testing import Check, attack_checks, defense_checks, metric_checks, source_checks

MEMBERS = [*attack_checks(PublicMean(images=2)), *defense_checks(Capped()), *metric_checks(MEAN_IMAGE_DISTANCE)]


@pytest.mark.parametrize("check", MEMBERS, ids=str)
def test_a_promise_is_kept(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


def test_the_reader(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 20, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", images=images, names=np.array(["Ann", "Bob"] * 3))
    for check in source_checks(NpzSource(path=tmp_path / "faces.npz")):
        check(tmp_path)
