"""Attacking a model that trapmid did not train.

With what it answers, within a budget, resuming, and from the command line.
"""

import importlib.util
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers_attacks import CLASSES, CPU, SHORT_ATTACKS, SIZE, faces, trained_classifier
from trapmid import cli
from trapmid.attacks import open_found
from trapmid.audit import Recipe
from trapmid.audit.foreign import attack_foreign
from trapmid.cli.options import parse_bytes
from trapmid.data import SyntheticSource
from trapmid.manifests import Manifest
from trapmid.models import Classifier
from trapmid.recipes import choose_recipe
from trapmid.subjects import Normalise, Subject
from trapmid.targets import Budget, LabelTarget, OpaqueModel, ScoreTarget
from trapmid.types import Images, UserError


@pytest.fixture(scope="module")
def net() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


class Asked(OpaqueModel):
    """A classifier of which only the answers are seen."""

    identities = tuple(f"person {i}" for i in range(CLASSES))
    image_shape = (3, SIZE, SIZE)
    digest = "0123456789abcdef"

    def __init__(self, net: Classifier, answers: Any = "scores") -> None:
        super().__init__()
        self.net, self.answers = net, answers

    def forward(self, images: Images) -> Tensor:
        return self.net(images).logits.log_softmax(1)


def asked(net: Classifier, answers: Any = "scores", shape: tuple[int, int, int] = (3, SIZE, SIZE)) -> Subject:
    model = Asked(net, answers)
    return Subject(
        module=model,
        identities=Asked.identities,
        classes=CLASSES,
        image_shape=shape,
        access=ScoreTarget if answers == "scores" else LabelTarget,
        digest=Asked.digest,
        named=True,
        normalise=Normalise.of("unit"),
        probabilities=False,
    )


def recipe(**changes: Any) -> Recipe:
    public = SyntheticSource(identities=8, images_per_identity=4, first_identity=100)
    attacks = (SHORT_ATTACKS["mirror"], SHORT_ATTACKS["brep"], SHORT_ATTACKS["plgmi"])
    return choose_recipe("demo").model_copy(update={"attacks": attacks, "public": public, **changes})


def test_scores_are_enough_for_mirror_and_a_finished_attack_is_not_repeated(net: Classifier, tmp_path: Path) -> None:
    first = attack_foreign(asked(net), recipe(), "mirror", tmp_path, compute=CPU)
    found, manifest = open_found(tmp_path / "attacks" / "mirror" / "foreign-s0")
    assert first == manifest
    assert manifest.parents["model"] == Asked.digest
    assert (tmp_path / "priors").exists()
    with torch.no_grad():
        scores = net(found.pixels.float() / 255).logits.softmax(1).gather(1, found.labels[:, None]).squeeze(1)
    torch.testing.assert_close(found.confidence, scores, atol=1e-5, rtol=1e-4)
    assert attack_foreign(asked(net), recipe(), "mirror", tmp_path, compute=CPU, budget=1) == first


def test_labels_are_enough_for_brep_and_a_spent_budget_can_be_raised(net: Classifier, tmp_path: Path) -> None:
    def run(budget: int | None, out: Path) -> Manifest:
        return attack_foreign(asked(net, "labels"), recipe(), "brep", out, compute=CPU, budget=budget)

    whole = run(None, tmp_path / "whole")
    with pytest.raises(UserError, match=r"query budget of 150 images is spent: .* were shown"):
        run(150, tmp_path / "parts")
    shown = int((tmp_path / "parts" / "attacks" / "brep" / "foreign-s0.shown").read_text())
    assert 0 < shown <= 150
    with pytest.raises(UserError, match=f"{shown} were shown and the next batch"):
        run(150, tmp_path / "parts")
    again = run(whole.facts["queries"] + shown, tmp_path / "parts")
    assert again.files == whole.files
    assert again.facts["queries"] == whole.facts["queries"]


def test_what_is_refused(net: Classifier, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs white-box access and this model gives score-only"):
        attack_foreign(asked(net), recipe(), "plgmi", tmp_path, compute=CPU)
    with pytest.raises(UserError, match="needs score-only access and this model gives label-only"):
        attack_foreign(asked(net, "labels"), recipe(), "mirror", tmp_path, compute=CPU)
    with pytest.raises(UserError, match=r"needs public images\. Give --public"):
        attack_foreign(asked(net), recipe(public=None), "mirror", tmp_path, compute=CPU)
    oblong = asked(net, shape=(3, 32, 40))
    with pytest.raises(UserError, match="Expected square ones"):
        attack_foreign(oblong, recipe(), "mirror", tmp_path, compute=CPU)
    assert not list(tmp_path.iterdir())


def test_from_the_command_line(
    net: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Path(__file__).parents[2] / "examples" / "server.py"
    spec = importlib.util.spec_from_file_location("example_server", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.serve(net, Asked.identities, Asked.image_shape, "scores", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("trapmid.recipes.choose_recipe", lambda *_, **__: recipe())
    url = f"http://127.0.0.1:{server.server_port}"

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["trapmid", "attack", "--recipe", "demo", "--out", str(tmp_path), *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    try:
        assert run("--target", url, "--attack", "mirror", "--device", "cpu") == 0
        told = capfd.readouterr().out
        assert f"{url}: {CLASSES} identities, gives score-only access" in told
        assert "images were made with" in told
        assert (tmp_path / "attacks" / "mirror" / "foreign-s0" / "reconstructions.parquet").exists()
        assert run("--target", url, "--attack", "plgmi") == 2
        assert "white-box access was asked for" in capfd.readouterr().err
        assert run("--attack", "mirror", "--budget", "5") == 2
        assert "Name a --target" in capfd.readouterr().err
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("text", "count"),
    [("", None), ("8GiB", 8 * 2**30), ("8G", 8 * 2**30), ("500MiB", 500 * 2**20), ("1.5 gb", 3 * 2**29), ("7", 7)],
)
def test_amounts_of_memory(text: str, count: int | None) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["much", "GiB", "8 gigs"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(UserError, match=r"is not an amount of memory\. Expected e\.g\. 8GiB"):
        parse_bytes(text)


def test_a_budget_is_one_for_all_processes_that_keep_it_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "attacks" / "foreign-s0.shown"
    one, other = Budget(10, file), Budget(10, file)
    one.spend(4)
    other.spend(4)
    with pytest.raises(UserError, match=r"budget of 10 images is spent: 8 were shown and the next batch has 4"):
        one.spend(4)
    assert Budget(10, file).shown == 8


@pytest.mark.parametrize("content", [b"", b"\xff", b"-3", b"many", b"9" * 5000, "²".encode()])
def test_a_count_that_cannot_be_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "shown").write_bytes(content)
    with pytest.raises(UserError, match="does not hold the number of images that the target was shown"):
        Budget(10, tmp_path / "shown")
