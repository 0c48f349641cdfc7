"""The built package in an empty environment, with nothing of the repository on the path."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers.runs import TINY_AUDIT

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")]


class Installed(NamedTuple):
    wheel: Path
    programs: Path
    site: Path


def call(folder: Path, *command: object, code: int = 0) -> str:
    """What a command prints, run where no variable leads to the repository or to its environment."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PYTEST"))
    }
    environment = kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package. hatchling is there already, so that no package index is needed."""
    folder = tmp_path_factory.mktemp("built")
    call(folder, "uv", "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment of its own. torch and the others come from a package index, so these tests need one."""
    folder = tmp_path_factory.mktemp("release")
    call(folder, "uv", "venv", "--python", sys.executable, folder / "environment")
    programs = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    command = ["uv", "pip", "install", "--python", str(programs / "python"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        assert "Failed to fetch" in done.stderr, done.stderr  # anything else is a mistake of the package
        pytest.skip(f"no package index gives what the package needs: {done.stderr[-300:]}")
    (site,) = (folder / "environment").rglob("site-packages")
    return Installed(wheel, programs, site)


def test_the_wheel_has_all_files_of_the_package_and_no_others(wheel: Path) -> None:
    source = ROOT / "src"
    wanted = {file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == wanted


def test_importing_it_takes_no_time(installed: Installed, tmp_path: Path) -> None:
    code = "import time; t = time.process_time(); import trapmid; print(time.process_time() - t, trapmid.__file__)"
    seconds, place = min(call(tmp_path, installed.programs / "python", "-c", code).split() for _ in range(3))
    assert float(seconds) < 0.2
    assert Path(place).is_relative_to(installed.site)


def test_a_newcomer_lists_runs_the_demo_and_reports(installed: Installed, tmp_path: Path) -> None:
    trapmid = installed.programs / "trapmid"
    assert call(tmp_path, trapmid, "--version").strip() == f"trapmid {installed.wheel.name.split('-')[1]}"
    assert "plgmi" in call(tmp_path, trapmid, "list")
    changed = (*TINY_AUDIT, "image_size=32")
    call(tmp_path, trapmid, "demo", "--jobs", 1, "--device", "cpu", "--set", *changed)
    run = tmp_path / "runs" / "demo"
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    call(tmp_path, trapmid, "report", "runs/demo", "--redact", "--to", "shown.html")
    assert (tmp_path / "shown.html").stat().st_size > 10_000
    call(tmp_path, trapmid, "leaderboard", "card", "runs/demo", "--command", "trapmid demo --set ...")
    for card in (tmp_path / "results").iterdir():
        call(tmp_path, trapmid, "leaderboard", "check", card, "--run", "runs/demo")
    call(tmp_path, trapmid, "leaderboard", "build")
    assert (tmp_path / "leaderboard.html").read_text(encoding="utf-8").count('<th scope="row"') == 2


def test_a_model_of_others_is_audited(installed: Installed, tmp_path: Path) -> None:
    trapmid = installed.programs / "trapmid"
    call(tmp_path, installed.programs / "python", ROOT / "tests" / "release" / "foreign_model.py")
    images = ("--private", "photos", "--public", "faces")
    changed = ("warm_start.iterations=2", "prior.iterations=2", "search_steps=2")
    options = ("--device", "cpu", "--jobs", 1, "--set", *(f"attacks.plgmi.{one}" for one in changed))
    call(tmp_path, trapmid, "audit", "model.pt2", *images, "--out", "run", *options)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))
    assert {"plgmi", "public-nearest"} <= {row["attack"] for row in scores}
    call(tmp_path, trapmid, "report", "run", "--redact", "--to", "shown.html")
    assert "PLG-MI" in (tmp_path / "shown.html").read_text(encoding="utf-8")


def test_what_an_extra_brings_is_named(installed: Installed, tmp_path: Path) -> None:
    told = call(
        tmp_path,
        *(installed.programs / "trapmid", "train", "--recipe", "demo", "--out", "run", "--device", "cpu"),
        *("--set", "model.kind=zoo"),
        code=2,
    )
    assert (
        "zoo:resnet18 needs the package timm, which is not installed. Install it with `pip install 'trapmid[zoo]'`"
        in told
    )


def test_uvx_runs_it(installed: Installed, tmp_path: Path) -> None:
    command = ("uvx", "--python", sys.executable, "--from", installed.wheel, "trapmid", "--version")
    assert "trapmid" in call(tmp_path, *command)


def test_nothing_is_left_after_it_was_uninstalled(installed: Installed, tmp_path: Path) -> None:
    call(tmp_path, "uv", "pip", "uninstall", "--python", installed.programs / "python", "trapmid")
    left = [file for file in installed.site.rglob("*") if "trapmid" in file.relative_to(installed.site).parts]
    assert [file for file in left if file.suffix != ".pyc" and file.is_file()] == []
    assert not (installed.programs / "trapmid").exists()
