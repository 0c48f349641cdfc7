"""The example plugin: installed in a folder of its own, its members are in lists, audits, reports and the doctor."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.runs import TINY_AUDIT

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """In which the plugin is installed."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(PLUGIN, source)
    site = ["--no-build-isolation", "--no-deps", "--target", str(folder / "site"), str(source)]  # so it needs no index
    uv = shutil.which("uv")
    installer = [sys.executable, "-m", "pip", "install"] if uv is None else [uv, "pip", "install", "-p", sys.executable]
    done = subprocess.run([*installer, *site], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return os.environ | {"PYTHONPATH": str(folder / "site"), "COLUMNS": "400", "OMP_NUM_THREADS": "1"}


def trapmid(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "trapmid", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_list_shows_every_member(environment: dict[str, str], tmp_path: Path) -> None:
    listed = trapmid(environment, tmp_path, "list")
    for name in ("public-mean", "capped", "mean_image_distance", "npz"):
        assert name in listed


def test_an_audit_trains_attacks_measures_and_reports(environment: dict[str, str], tmp_path: Path) -> None:
    members = ("--attacks", "plgmi", "public-mean", "--defenses", "none", "capped")
    told = trapmid(
        environment,
        tmp_path,
        "audit",
        "--recipe",
        "demo",
        "--out",
        "run",
        "--device",
        "cpu",
        *members,
        "--set",
        *TINY_AUDIT,
    )
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for title in ("Distance to the mean image", "Mean of look-alikes", "Capped logits"):
        assert title in page
    assert "Distance to the mean image" in " ".join(told.split())


def test_the_doctor_reads_a_file_of_its_reader(environment: dict[str, str], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", images=images, names=np.array(["Ann", "Bob"] * 20))
    told = trapmid(environment, tmp_path, "doctor", "faces.npz", "--json")
    (facts,) = json.loads(told)["facts"]
    assert (facts["kind"], facts["identities"], facts["fewest"]) == ("npz", 2, 20)


def test_every_member_passes_the_contract_checks(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout
