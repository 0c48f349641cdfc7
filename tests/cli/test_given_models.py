"""How a command line describes a model that somebody else trained, and what of it is refused before images are read."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.commands import refused
from trapmid.audit.run import settle
from trapmid.cli.given import config_of, label_of, open_given, other_model
from trapmid.cli.options import ALONE, UNKNOWN, Rival
from trapmid.engine import Compute
from trapmid.recipes import choose_recipe
from trapmid.subjects.live import Live
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import UserError

FACTORY = "helpers.foreign:build"


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("models/faces.pt2", "faces"),
        ("faces.v2.onnx", "faces.v2"),
        ("timm:resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("my.package:factory", "my.package-factory"),
        ("https://example.org/models/vip/", "vip"),
        ("http://127.0.0.1:8000", "127.0.0.1-8000"),
        ("runs/demo/models/trapmid-s0", "trapmid-s0"),
        ("Gesichter größer.onnx", "Gesichter-gr-er"),
        ("none", "model-none"),
        ("..", "model"),
        ("x" * 200, "x" * 60),
    ],
)
def test_a_models_label_is_the_last_part_of_its_name(model: str, label: str) -> None:
    assert label_of(model) == label
    assert Live(path="0", label=label).name == label


def test_it_is_opened_as_it_is_described(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("Ada\nGrace\nMary\nEmmy\n")
    given = replace(UNKNOWN, classes=tmp_path / "classes.txt", image_size=32, normalize="signed")
    subject = open_given(FACTORY, given, None, Compute("cpu"))
    assert subject.identities == ("Ada", "Grace", "Mary", "Emmy")
    assert (subject.image_shape, subject.normalise.name, subject.access) == ((3, 32, 32), "signed", WhiteBoxTarget)
    assert open_given(FACTORY, given, "labels", Compute("cpu")).access is LabelTarget
    asked = replace(given, access="white-box")
    assert open_given(FACTORY, asked, "labels", Compute("cpu")).access is WhiteBoxTarget
    with pytest.raises(UserError, match=r"--channels 2: expected 1 or 3"):
        config_of(FACTORY, replace(given, channels=2))


def test_another_model_is_described_as_the_first_one(tmp_path: Path) -> None:
    given = replace(UNKNOWN, image_size=32, weights=tmp_path / "first")
    assert other_model(ALONE, given, "net") is None
    second = tmp_path / "second"
    other = other_model(Rival(compare=FACTORY, compare_weights=second), given, "net")
    assert other == config_of(FACTORY, replace(given, weights=second), label_of(FACTORY))
    with pytest.raises(UserError, match=r"--compare-weights belongs to the model of --compare: name it"):
        other_model(Rival(compare_weights=second), given, "net")


@pytest.mark.parametrize(("first", "label"), [("other", "net"), ("net", "old-net")])
def test_two_models_of_one_name_get_two_labels(first: str, label: str) -> None:
    other = other_model(Rival(compare="old/net.onnx"), UNKNOWN, first)
    assert other is not None
    assert other.name == label


def test_an_audit_without_scores_is_no_other_model(tmp_path: Path) -> None:
    settle(choose_recipe("demo"), tmp_path)
    with pytest.raises(UserError, match="Nothing was measured"):
        other_model(Rival(compare=str(tmp_path)), UNKNOWN, "net")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--recipe", "demo"), "MODEL is audited as it is: leave out --recipe and --defenses, which train models."),
        (("--defenses", "trapmid"), "MODEL is audited as it is: leave out --recipe and --defenses"),
        ((), "An audit of a MODEL needs --private, images of the people that it knows, and --public"),
        (("--private", "here"), "An audit of a MODEL needs --private"),
        (("--executor", "ray"), "An audit of a MODEL runs on this machine: leave out --executor and --cluster."),
        (("--private", "here", "--public", "nowhere"), "nowhere does not exist."),
        (("--private", "here", "--public", "here", "--seeds", "-1"), "Seed -1 is out of range"),
        (("--private", "here", "--public", "here", "--identities", "1"), "--identities 1: expected a whole number"),
        (("--private", "here", "--public", "here", "--judge", "resnet18"), "--judge 'resnet18': expected timm:NAME"),
        (("--private", "here", "--public", "here", "--judge-weights", "here"), "name its network with --judge"),
        (("--private", "here", "--public", "here", "--channels", "2"), "--channels 2: expected 1 or 3"),
        (("--private", "here", "--public", "here"), "here holds no images."),
    ],
)
def test_audits_of_a_model_that_are_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(tmp_path, capfd, "audit", FACTORY, "--image-size", "32", "--device", "cpu", *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--private", "nowhere"), "nowhere does not exist."),
        (("--private", "here", "--identities", "1"), "--identities 1: expected a whole number from 2"),
        (("--private", "here", "--device", "tpu"), "--device tpu: trapmid computes on CPUs and CUDA devices"),
        (("--private", "here"), "Give --image-size"),
    ],
)
def test_examinations_that_are_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(tmp_path, capfd, "doctor", FACTORY, *arguments)
