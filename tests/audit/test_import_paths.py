"""Members of one's own that are not installed: a command names them by their import path."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.runs import TINY_AUDIT
from trapmid.attacks import ATTACKS, parse_attack
from trapmid.catalogue import entries, import_members
from trapmid.cli.importing import importing
from trapmid.cli.tools import list_
from trapmid.data import SOURCES
from trapmid.defenses import DEFENSES, parse_defense
from trapmid.metrics import table
from trapmid.recipes import choose_recipe
from trapmid.registry import NAMED
from trapmid.types import UserError

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin" / "src" / "trapmid_example"
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


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_defenses.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv(NAMED, "")
    yield
    ATTACKS._added.clear()
    DEFENSES._added.clear()
    SOURCES._added.clear()
    table._registered.clear()
    for module in ("own_attacks", "own_defenses", "own_metrics", "own_readers"):
        sys.modules.pop(module, None)


def test_a_defense_by_its_import_path() -> None:
    defense = parse_defense("own_defenses:SmallFeatures")
    assert defense.name == "small-features"
    assert parse_defense("small-features") == defense
    assert parse_defense("trapmid+small-features").has_trapdoor
    labelled = defense.model_copy(update={"label": "small-features"})
    assert parse_defense("own_defenses:SmallFeatures", [labelled]) is labelled
    recipe = choose_recipe("demo", defenses=("none", "own_defenses:SmallFeatures"))
    assert [one.name for one in recipe.defenses] == ["none", "small-features"]


def test_an_attack_by_its_import_path(tmp_path: Path) -> None:
    shutil.copy(PLUGIN / "attack.py", tmp_path / "own_attacks.py")
    recipe = choose_recipe("demo", attacks=("plgmi", "own_attacks:PublicMean"))
    assert [one.name for one in recipe.attacks] == ["plgmi", "public-mean"]
    known = recipe.attacks[1].model_copy(update={"images": 3})
    assert parse_attack("own_attacks:PublicMean", [known]) is known


@pytest.mark.parametrize("path", ["own_defenses:Nothing", "no_such_module:SmallFeatures", "own_defenses:Changes"])
def test_an_import_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"cannot be used as a defense|is not a subclass"):
        parse_defense(path)


def test_members_of_every_room_by_their_import_paths(tmp_path: Path) -> None:
    for name in ("attack", "metric", "reader"):
        shutil.copy(PLUGIN / f"{name}.py", tmp_path / f"own_{name}s.py")
    paths = (
        "own_attacks:PublicMean",
        "own_defenses:SmallFeatures",
        "own_readers:NpzSource",
        "own_metrics:MEAN_IMAGE_DISTANCE",
    )
    import_members(paths)
    import_members(paths)  # a second time does no harm
    found = {(entry.union, entry.kind) for entry in entries()}
    assert found >= {
        ("attack", "public-mean"),
        ("defense", "small-features"),
        ("source", "npz"),
        ("metric", "mean_image_distance"),
    }


def test_what_cannot_be_a_member_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"own_defenses:Changes is .* Expected a subclass of Attack, Defense or Source, or a Metric"
    ):
        import_members(["own_defenses:Changes"])
    with pytest.raises(
        UserError, match="no_such_module:Own cannot be used as a member: No module named 'no_such_module'"
    ):
        import_members(["no_such_module:Own"])


def test_commands_import_members_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(PLUGIN / "attack.py", tmp_path / "own_attacks.py")
    importing(list_)(as_json=True, own=("own_attacks:PublicMean",))
    assert "public-mean" in [entry["kind"] for entry in json.loads(capsys.readouterr().out)]


@pytest.mark.slow
def test_an_audit_in_two_processes_and_its_resumption(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trapmid", "audit", "--out", "run", "--device", "cpu", "--jobs", "2"]
    shutil.copy(PLUGIN / "attack.py", tmp_path / "own_attacks.py")
    named = ["--defenses", "none", "own_defenses:SmallFeatures", "--attacks", "plgmi", "own_attacks:PublicMean"]
    new = [*command, "--recipe", "demo", *named, "--set", *TINY_AUDIT]
    done = subprocess.run(new, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "scores.json").read_text())
    pairs = {(row["defense"], row["attack"]) for row in rows}
    assert pairs >= {(defense, attack) for defense in ("none", "small-features") for attack in ("plgmi", "public-mean")}
    forgotten = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert forgotten.returncode == 2
    assert "import it: --import package.module:Class" in " ".join(forgotten.stderr.split())
    own = ["--import", "own_defenses:SmallFeatures", "own_attacks:PublicMean"]
    for again in (command, [*command[:3], "measure", "run"], [*command[:3], "report", "run"]):
        done = subprocess.run([*again, *own], cwd=tmp_path, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
