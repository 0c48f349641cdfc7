"""`trapmid pretrain` leaves a start that audits find, and refuses what cannot teach before it trains."""

from pathlib import Path

import pytest
from PIL import Image

from helpers.commands import refused, run
from helpers.faces import tiny_public
from trapmid.data import guess_source
from trapmid.manifests import open_artifact
from trapmid.models import IdentityStart, Tiny
from trapmid.starts import open_start, start_name


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A folder with one folder per person."""
    images = tiny_public()
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels.tolist(), strict=True)):
        folder = tmp_path / "public" / images.identities[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return tmp_path / "public"


def test_without_a_teacher_it_learns_who_is_who(
    public: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "starts"
    settings = ["--image-size", "32", "--set", "start.epochs=1", "start.batch_size=16", "widths=[8]", "strides=[2]"]
    assert run("pretrain", "tiny", "--public", str(public), "--out", str(out), "--device", "cpu", *settings) == 0
    model = Tiny(widths=(8,), strides=(2,), start=IdentityStart(epochs=1, batch_size=16))
    images = guess_source(public).load(32, 3)
    assert open_start(out, model, images).is_file()
    made = open_artifact(out / start_name(model, images), "start")
    told = " ".join(capfd.readouterr().out.split())
    assert "learned who is who in public images" in told
    assert f"held out accuracy: {made.facts['held_out_accuracy']:.3f}" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny", "--public", "nowhere"), "nowhere does not exist."),
        (("tiny", "--public", "here", "--teacher", "nowhere.onnx"), "nowhere.onnx does not exist."),
        (("tiny", "--public", "here", "--image-size", "7"), "--image-size 7: expected a whole number from 8"),
        (("tiny", "--public", "here", "--jobs", "-1"), "--jobs -1: expected a whole number from 0"),
        (("tinny", "--public", "here"), "'tinny' is not a model."),
        (("tiny", "--public", "here", "--set", "start.epoch=1"), "Did you mean 'epochs'?"),
        (("tiny", "--public", "here"), "here holds no images."),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(tmp_path, capfd, "pretrain", *arguments)
