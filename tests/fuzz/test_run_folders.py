"""Damaged recipes and manifests: each is read as what it is, or refused in one sentence; the file stays as it was."""

import json
import random
from collections import Counter

import pytest

from helpers.fuzzing import check, damaged, mutated, stop_before_training
from helpers.old_runs import unpack_run
from trapmid.manifests import Manifest, open_artifact
from trapmid.recipes import RECIPES
from trapmid.types import UserError

pytestmark = pytest.mark.slow


def test_every_recipe_is_read_or_refused(tmp_path, capfd, monkeypatch):
    stop_before_training(monkeypatch)
    rng, counts, out = random.Random(0), Counter(), tmp_path / "run"
    out.mkdir()
    recipes = [RECIPES[name]().model_dump(mode="json") for name in ("demo", "attacks-demo", "adaptive-demo")]
    for number in range(500):
        value = rng.choice(recipes)
        for _ in range(rng.randint(1, 3)):
            value = mutated(value, rng)
        text = json.dumps(value).encode()
        (out / "recipe.json").write_bytes(damaged(text, rng) if number % 4 == 0 else text)
        arguments = rng.choice([["audit"], ["train", "--defense", "none"], ["attack"], ["audit", "--recipe", "demo"]])
        check([*arguments, "--out", str(out)], [tmp_path], capfd, counts)
    print(f"500 recipes: {dict(counts)}")  # noqa: T201
    assert min(counts["0"], counts["2"]) > 5


def test_every_manifest_is_read_or_refused(tmp_path, capfd):
    rng, counts = random.Random(0), Counter()
    run = unpack_run(tmp_path / "run")
    folders = [file.parent for file in sorted(run.rglob("manifest.json"))]
    assert len(folders) > 20
    for number in range(2000):
        folder = rng.choice(folders)
        file = folder / "manifest.json"
        whole = file.read_bytes()
        value = mutated(json.loads(whole), rng)
        hostile = damaged(whole, rng) if number % 4 == 0 else json.dumps(value).encode()
        file.write_bytes(hostile)
        try:
            made = open_artifact(folder, json.loads(whole)["kind"])
        except UserError:
            counts["refused"] += 1
        else:
            assert isinstance(made, Manifest)
            counts["read"] += 1
        assert file.read_bytes() == hostile
        file.write_bytes(whole)
    print(f"2000 manifests: {dict(counts)}")  # noqa: T201
    assert counts["refused"] > 500


def test_reports_of_damaged_folders_are_written_or_refused(tmp_path, capfd):
    rng, counts = random.Random(0), Counter()
    run = unpack_run(tmp_path / "run")
    files = sorted(file for file in run.rglob("*.json"))
    for number in range(5):
        file = rng.choice(files)
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, rng) if number % 2 else json.dumps(mutated(json.loads(whole), rng)).encode())
        check(["report", str(run), "--to", str(tmp_path / "report.html")], [run], capfd, counts)
        file.write_bytes(whole)
    print(f"5 reports: {dict(counts)}")  # noqa: T201
