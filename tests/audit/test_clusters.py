"""Jobs of a real Slurm of one node give the scores of this machine, to the byte."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import TINY_AUDIT
from trapmid.audit.clusters import carry_out, on_slurm, parse_settings
from trapmid.audit.plan import plan
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import run_audit
from trapmid.engine import Compute
from trapmid.recipes import choose_recipe
from trapmid.types import UserError

SLURM = Path(__file__).parent / "slurm.sh"
slow = pytest.mark.slow
quiet = pytest.mark.filterwarnings("ignore")  # submitit leaves sockets and files to the garbage collector


def recipe() -> Recipe:
    return choose_recipe("demo", changes=TINY_AUDIT, defenses=("none",), attacks=("plgmi",))


def scores(out: Path, executor: Any = None, jobs: int | None = None) -> bytes:
    run_audit(recipe(), out, compute=Compute("cpu"), jobs=jobs, executor=executor)
    return (out / "scores.json").read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return scores(tmp_path_factory.mktemp("local"), jobs=1)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    missing = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root and Debian's slurm-wlm and munge; missing: {', '.join(missing) or 'root'}")
    folder = tmp_path / "slurm"
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    try:
        subprocess.run([SLURM, "start", folder], check=True, timeout=120)
        yield
    finally:
        subprocess.run([SLURM, "stop", folder], check=True, timeout=60)


@slow
@quiet
@pytest.mark.usefixtures("slurm")
def test_jobs_of_a_real_slurm(expected: bytes, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    assert scores(tmp_path / "run", on_slurm()) == expected


def test_a_task_that_fails_names_its_node_and_leaves_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "priors").write_text("in the way of a folder")
    task = next(task for task in plan(recipe()) if task.kind == "prior")
    node, problem = carry_out((task, recipe(), tmp_path, Compute("cpu"), ()))
    assert problem.startswith(f"`{task.name}` failed on {node}: ")
    (file,) = (tmp_path / "failures").iterdir()
    assert str(file) in problem
    assert file.read_text().startswith(f"{task.name} on {node}")
    assert "Traceback" in file.read_text()


def test_settings_are_read_and_mistakes_told() -> None:
    assert parse_settings(("slurm_partition=gpu", "gpus_per_node=1")) == {"slurm_partition": "gpu", "gpus_per_node": 1}
    with pytest.raises(UserError, match=r"--cluster 'gpu': expected KEY=VALUE"):
        parse_settings(("gpu",))
