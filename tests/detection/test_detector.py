"""The detector against loops, on a model whose trapdoor took, and as files."""

import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from helpers.trapped import Trapped
from trapmid.defenses import open_model
from trapmid.defenses.opening import open_secrets
from trapmid.detection import Detector, Learned, open_detector
from trapmid.detection.detector import look
from trapmid.trapdoor import DETECTOR, SECRETS, Secrets, signatures
from trapmid.types import UserError

RATE = 0.1


@pytest.fixture(scope="module")
def detector(trapped: Trapped) -> Detector:
    train, val = (trapped.split.part(name).images() for name in ("train", "val"))
    return Detector.fit(trapped.model.classifier, trapped.secrets, train, val, false_positives=RATE)


def test_scores_are_cosines_with_the_signature_of_the_predicted_class(trapped: Trapped, detector: Detector) -> None:
    model, images = trapped.model.classifier, trapped.split.part("test").images()[:7]
    labels, scores = look(model, detector.signatures, images, batch=3)
    with torch.no_grad():
        for image, label, score in zip(images, labels.tolist(), scores.tolist(), strict=True):
            said = model(image[None])
            assert int(said.logits.argmax()) == label
            assert score == pytest.approx(float(F.normalize(said.features) @ detector.signatures[label]), abs=1e-5)


def test_a_lower_rate_of_false_positives_is_a_higher_threshold(detector: Detector) -> None:
    stricter = detector.at(0.06)
    assert stricter.calibration.threshold >= detector.calibration.threshold
    assert stricter.signatures is detector.signatures


def test_too_few_images_are_refused(trapped: Trapped) -> None:
    train, val = (trapped.split.part(name).images() for name in ("train", "val"))
    with pytest.raises(UserError, match="4 training images for 5 classes"):
        Detector.fit(trapped.model.classifier, trapped.secrets, train[:4], val)
    few = Detector.fit(trapped.model.classifier, trapped.secrets, train, val[:10])
    with pytest.raises(UserError, match=r"10 clean images cannot guarantee .* the lowest rate they can is 25\.89%"):
        few.examine(trapped.model.classifier, val)


def test_saved_for_the_owner_alone_and_loaded(detector: Detector, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        detector.save(tmp_path / "secret" / "detector", {"model": "m"}, ["a"])
    finally:
        os.umask(mask)
    folder = tmp_path / "secret" / "detector"
    assert stat.S_IMODE((folder / DETECTOR).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    loaded = Detector.load(folder)
    assert torch.equal(loaded.signatures, detector.signatures)
    assert torch.equal(loaded.clean, detector.clean)
    detector.save(folder, {"model": "m"}, ["a"])
    with pytest.raises(UserError, match="other settings"):
        Detector(detector.signatures, detector.clean[1:]).save(folder, {"model": "m"}, ["a"])
    with pytest.raises(UserError, match="is not a trapmid detector"):
        Detector.load(tmp_path)


def test_never_within_the_models_folder(trapped: Trapped, detector: Detector, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trapped.folder, model)
    with pytest.raises(UserError, match="lies within the model's folder"):
        detector.save(model / "deep" / "detector")
    assert not (model / "deep").exists()
    detector.save(tmp_path / "detector")
    shutil.copytree(tmp_path / "detector", model / "detector")
    with pytest.raises(UserError, match="gets its trapdoor"):
        open_model(model)


def test_made_once_and_opened_without_private_images(trapped: Trapped, tmp_path: Path) -> None:
    home, learned = (
        tmp_path / "detector",
        Learned.model_validate({"private": {"kind": "folder", "path": trapped.private}, "split": trapped_split()}),
    )
    with pytest.raises(UserError, match="Give the images that the model was trained on with --private"):
        open_detector(home, trapped.model, trapped.secrets_folder)
    made = open_detector(home, trapped.model, trapped.secrets_folder, learned)
    again = open_detector(home, trapped.model, trapped.secrets_folder)
    assert torch.equal(made.signatures, again.signatures)
    expected = Detector.fit(
        trapped.model.classifier, trapped.secrets, *(trapped.split.part(name).images() for name in ("train", "val"))
    )
    assert torch.equal(again.signatures, expected.signatures)
    assert torch.equal(again.clean, expected.clean)


def test_other_images_than_the_model_learned_are_refused(trapped: Trapped, tmp_path: Path) -> None:
    otherwise = Learned.model_validate({"private": {"kind": "folder", "path": trapped.private}})
    with pytest.raises(UserError, match=r"not the images that the model was trained on \(the same identities"):
        open_detector(tmp_path / "detector", trapped.model, trapped.secrets_folder, otherwise)
    assert not (tmp_path / "detector").exists()


def test_another_models_secrets_and_detector_are_refused(trapped: Trapped, detector: Detector, tmp_path: Path) -> None:
    Secrets(trapped.secrets.triggers, 0.2).save(tmp_path / "other", "another model")
    with pytest.raises(UserError, match="secrets of another model"):
        open_secrets(tmp_path / "other", trapped.model)
    Secrets(trapped.secrets.triggers[:3], 0.2).save(tmp_path / "fewer")
    with pytest.raises(UserError, match=r"\(3, 3, 32, 32\), and this model's have \(5, 3, 32, 32\)"):
        open_secrets(tmp_path / "fewer", trapped.model)
    Secrets(trapped.secrets.triggers, 0.2).save(tmp_path / "nobodys")
    assert open_secrets(tmp_path / "nobodys", trapped.model).blend_ratio == 0.2
    detector.save(tmp_path / "detector", {"model": "another"})
    with pytest.raises(UserError, match="is the detector of another model"):
        open_detector(tmp_path / "detector", trapped.model, trapped.secrets_folder)


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_no_detector_is_calibrated_on_damaged_secrets(trapped: Trapped, where: float, tmp_path: Path) -> None:
    """One bit is enough: a detector with wrong signatures would be blind, and nobody would notice."""
    learned = Learned.model_validate({"private": {"kind": "folder", "path": trapped.private}, "split": trapped_split()})
    shutil.copytree(trapped.secrets_folder, tmp_path / "secrets")
    file = tmp_path / "secrets" / SECRETS
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= 1
    for damaged in (content, content[: len(content) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"is damaged: its content|holds no trapdoor secrets"):
            open_detector(tmp_path / "detector", trapped.model, tmp_path / "secrets", learned)
        assert not (tmp_path / "detector").exists()


def test_a_model_that_shows_logits_alone(trapped: Trapped) -> None:
    """A drop-in's network: its logits stand for the features."""
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 5)).eval()
    train = trapped.split.part("train").images()
    known = signatures(flat, train, trapped.secrets, torch.Generator().manual_seed(0))
    assert known.shape == (5, 5)
    assert Detector.fit(flat, trapped.secrets, train, train).clean.shape == (len(train),)


def trapped_split() -> dict[str, float]:
    return {"val": 0.3, "test": 0.2}
