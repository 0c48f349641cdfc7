"""Members of one's own that are not installed: a command names them by their import path."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trapmid.defenses import DEFENSES, parse_defense
from trapmid.recipes import choose_recipe
from trapmid.registry import NAMED
from trapmid.types import UserError

OWN = """
from typing import Literal
from trapmid.defenses import Changes, Defense

class SmallFeatures(Defense):
    title = "Small features"
    paper = "none"
    kind: Literal["small-features"] = "small-features"

    def changes(self):
        return Changes(terms=(self.size,))

    def size(self, prediction, images, labels):
        return {"size": 0.01 * prediction.features.square().mean()}
"""
TINY = (
    "private.identities=4",
    "private.images_per_identity=12",
    "public.identities=8",
    "training.epochs=2",
    "judges.classifier.training.epochs=1",
    "attacks.plgmi.warm_start.iterations=2",
    "attacks.plgmi.prior.iterations=2",
    "attacks.plgmi.search_steps=2",
    "attacks.plgmi.candidates=6",
    "robustness=null",
)


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_defenses.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv(NAMED, "")
    yield
    DEFENSES._added.clear()
    sys.modules.pop("own_defenses", None)


def test_a_defense_by_its_import_path() -> None:
    defense = parse_defense("own_defenses:SmallFeatures")
    assert defense.name == "small-features"
    assert parse_defense("small-features") == defense
    assert parse_defense("trapmid+small-features").has_trapdoor
    labelled = defense.model_copy(update={"label": "small-features"})
    assert parse_defense("own_defenses:SmallFeatures", [labelled]) is labelled
    recipe = choose_recipe("demo", defenses=("none", "own_defenses:SmallFeatures"))
    assert [one.name for one in recipe.defenses] == ["none", "small-features"]


@pytest.mark.parametrize("path", ["own_defenses:Nothing", "no_such_module:SmallFeatures", "own_defenses:Changes"])
def test_an_import_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"cannot be used as a defense|is not a subclass"):
        parse_defense(path)


@pytest.mark.slow
def test_an_audit_in_two_processes_and_its_resumption(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trapmid", "audit", "--out", "run", "--device", "cpu", "--jobs", "2"]
    named = ["--defenses", "none", "own_defenses:SmallFeatures"]
    new = [*command, "--recipe", "demo", *named, "--set", *TINY]
    done = subprocess.run(new, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert {row["defense"] for row in json.loads((tmp_path / "run" / "scores.json").read_text())} >= {
        "none",
        "small-features",
    }
    forgotten = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert forgotten.returncode == 2
    assert "name it again (--defenses package.module:Class)" in " ".join(forgotten.stderr.split())
    again = subprocess.run([*command, *named], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert again.returncode == 0, again.stderr
