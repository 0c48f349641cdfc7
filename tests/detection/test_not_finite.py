"""NaN and infinity never make a detector that flags nothing, and never pass one unseen."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.trapped import Trapped
from trapmid.console import print_suspects
from trapmid.detection import Calibration, Detector
from trapmid.manifests import MANIFEST, sha256
from trapmid.trapdoor import DETECTOR
from trapmid.types import UserError


@pytest.fixture(scope="module")
def detector(trapped: Trapped) -> Detector:
    train, val = (trapped.split.part(name).images() for name in ("train", "val"))
    return Detector.fit(trapped.model.classifier, trapped.secrets, train, val, false_positives=0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_image_that_is_not_finite_makes_no_detector(trapped: Trapped, value: float) -> None:
    train, val = (trapped.split.part(name).images() for name in ("train", "val"))
    spoilt = val.clone()
    spoilt[3, 0, 0, 0] = value
    with pytest.raises(UserError, match=rf"1 of {len(val)} clean images hold NaN or infinity"):
        Detector.fit(trapped.model.classifier, trapped.secrets, train, spoilt)
    spoilt = train.clone()
    spoilt[3, 0, 0, 0] = value
    with pytest.raises(UserError, match=rf"1 of {len(train)} training images hold NaN or infinity"):
        Detector.fit(trapped.model.classifier, trapped.secrets, spoilt, val)


def test_no_clean_images_make_no_detector(trapped: Trapped) -> None:
    train = trapped.split.part("train").images()
    with pytest.raises(UserError, match="without clean images has no threshold"):
        Detector.fit(trapped.model.classifier, trapped.secrets, train, train[:0])
    with pytest.raises(UserError, match="without clean images has no threshold"):
        Detector(torch.rand(2, 3), torch.rand(0))


def test_a_model_that_answers_nan_makes_no_detector(trapped: Trapped) -> None:
    train, val = (trapped.split.part(name).images() for name in ("train", "val"))
    diverged = copy.deepcopy(trapped.model.classifier)
    with torch.no_grad():
        for weight in diverged.parameters():
            weight.fill_(math.nan)
    with pytest.raises(UserError, match="answers NaN or infinity"):
        Detector.fit(diverged, trapped.secrets, train, val)


def test_a_threshold_is_a_number() -> None:
    with pytest.raises(UserError, match="2 of 100 clean images have a score that is not finite"):
        Calibration(torch.cat([torch.linspace(0, 1, 98), torch.tensor([math.nan, math.inf])]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_image_that_is_not_finite_is_flagged(trapped: Trapped, detector: Detector, value: float) -> None:
    images = trapped.split.part("test").images()[:4].clone()
    images[1] = value
    suspects = detector.examine(trapped.model.classifier, images)
    assert bool(suspects.flagged[1])
    assert float(suspects.p_values[1]) == pytest.approx(1 / (1 + len(detector.clean)))
    eye = detector.watch(trapped.model.classifier, window=8, level=0.5)
    with torch.no_grad():
        eye(images)
        eye(torch.full_like(images, value))
    assert eye.flagged >= 5
    assert eye.alarms == 1


def test_a_score_that_is_not_finite_is_null_in_json(
    trapped: Trapped, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    images = trapped.split.part("test").images()[:2].clone()
    images[1] = math.nan
    suspects = detector.examine(trapped.model.classifier, images)
    for as_json in (True, False):
        print_suspects(("good", "bad"), suspects, detector, trapped.model.identities, as_json=as_json)
        said = capsys.readouterr().out
        if as_json:
            good, bad = json.loads(said, parse_constant=pytest.fail)["images"]
            assert (bad["score"], bad["flagged"]) == (None, True)
            assert -1 <= good["score"] <= 1
        else:
            assert said.index("bad") < said.index("good")


@pytest.mark.parametrize("level", [math.nan, 2.0, 0.0, 1.0, -0.1, math.inf])
def test_a_level_that_is_no_probability_is_refused(trapped: Trapped, detector: Detector, level: float) -> None:
    with pytest.raises(UserError, match=r"alarm level of .* is not a probability"):
        detector.watch(trapped.model.classifier, level=level)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_without_images_is_refused(trapped: Trapped, detector: Detector, window: int) -> None:
    with pytest.raises(UserError, match="Expected a whole number of at least 1"):
        detector.watch(trapped.model.classifier, window=window)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"signatures": torch.rand(2, 3)}, "is not a detector"),
        ({"signatures": torch.rand(2), "clean": torch.rand(9)}, "is not a detector"),
        ({"signatures": torch.ones(2, 3, dtype=torch.int64), "clean": torch.rand(9)}, "is not a detector"),
        ({"signatures": torch.full((2, 3), math.nan), "clean": torch.rand(9)}, "answers NaN or infinity"),
        ({"signatures": torch.rand(2, 3), "clean": torch.full((9,), math.nan)}, "answers NaN or infinity"),
    ],
)
def test_a_detector_whose_file_was_exchanged(
    detector: Detector, tmp_path: Path, tensors: dict[str, torch.Tensor], told: str
) -> None:
    detector.save(tmp_path / "detector")
    save_file(tensors, tmp_path / "detector" / DETECTOR)
    manifest = tmp_path / "detector" / MANIFEST
    content = json.loads(manifest.read_text())
    content["files"][DETECTOR] = sha256(tmp_path / "detector" / DETECTOR)
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match=told):
        Detector.load(tmp_path / "detector")
