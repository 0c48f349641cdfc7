"""Jobs of a real Slurm of one node give the scores of this machine, to the byte, whatever happens to the jobs."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.runs import scores_of, tiny_recipe
from trapmid.audit.run import run
from trapmid.audit.slurm import JOBS, on_slurm
from trapmid.engine import Compute
from trapmid.types import UserError

SLURM = Path(__file__).parent / "slurm.sh"
RECIPE = tiny_recipe("training.epochs=100")
TRAINING = "trapmid-train-none-seed-0"
pytestmark = pytest.mark.filterwarnings("ignore")  # submitit leaves sockets and files to the garbage collector


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Slurm of one node. Its daemons are not on PyPI and start as root only, so not every machine can run them."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    missing = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root and Debian's slurm-wlm and munge; missing: {', '.join(missing) or 'root'}")
    folder = tmp_path / "slurm"
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    try:
        subprocess.run([SLURM, "start", folder], check=True, timeout=120)
        yield
    finally:
        subprocess.run([SLURM, "stop", folder], check=True, timeout=120)


def wait_for(find: Any) -> Any:
    deadline = time.monotonic() + 600
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def job_of_the_training() -> str:
    command = ["squeue", "--noheader", "--format=%i", f"--name={TRAINING}", "--states=RUNNING"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def steps_of(job: str) -> list[psutil.Process]:
    """What a node runs for a job. A job runs, to Slurm, a moment before its node has begun."""
    running = psutil.process_iter(["name", "cmdline"])
    return [p for p in running if p.info["name"] == "slurmstepd" and f"[{job}." in " ".join(p.info["cmdline"] or ())]


def kill_node_of(job: str) -> None:
    """Kill what a node runs for a job, with signal 9."""
    steps = wait_for(lambda: steps_of(job))
    for process in [child for step in steps for child in step.children(recursive=True)] + steps:
        process.kill()


def trained(out: Path, **where: Any) -> bytes:
    """The weights of the classifier alone."""
    run(RECIPE, out, only=lambda task: task.kind == "train", compute=Compute("cpu"), **where)
    return (out / "models" / "none-s0" / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_scores_are_those_of_this_machine(tmp_path: Path) -> None:
    expected = scores_of(tiny_recipe(), tmp_path / "here", jobs=1)
    assert scores_of(tiny_recipe(), tmp_path / "there", executor=on_slurm()) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_job_that_is_preempted_and_a_node_that_dies_change_no_weight(tmp_path: Path) -> None:
    expected = trained(tmp_path / "here", jobs=1)
    out, told = tmp_path / "there", []

    def disturb() -> None:
        wait_for(lambda: list(out.glob("models/*.partial/log.jsonl")))
        preempted = job_of_the_training()
        subprocess.run(["scontrol", "requeue", preempted], check=True, timeout=30)
        wait_for(lambda: any("preempted" in note for *_, note in told))
        assert list(out.glob("models/*.partial/checkpoint.pt"))
        kill_node_of(wait_for(lambda: {job_of_the_training()} - {"", preempted}).pop())

    with ThreadPoolExecutor(2) as pool:
        disturbing = pool.submit(disturb)
        ended = pool.submit(trained, out, executor=on_slurm(), progress=lambda *message: told.append(message))
        disturbing.result()
        with pytest.raises(UserError, match="`train none seed 0` was lost with its node or job"):
            ended.result()
    assert sum("preempted" in note for *_, note in told) == 1
    assert trained(out, executor=on_slurm()) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_what_slurm_does_not_take_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Slurm does not take the job of .*partition"):
        scores_of(RECIPE, tmp_path / "run", executor=on_slurm(slurm_partition="none"))


@pytest.mark.slow
def test_jobs_of_this_machine_that_are_killed_are_told_and_go_on(tmp_path: Path) -> None:
    """The way to Slurm and back, without a Slurm: submitit runs the jobs as processes."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    expected = trained(tmp_path / "here", jobs=1)
    out = tmp_path / "there"

    def disturb() -> None:
        wait_for(lambda: list(out.glob("models/*.partial/log.jsonl")))
        job = out / JOBS
        for process in psutil.process_iter(["cmdline"]):
            if str(job) in " ".join(process.info["cmdline"] or ()):
                process.kill()

    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(disturb)
        with pytest.raises(UserError, match=r"`train none seed 0` was lost with its node or job .*own log is .*\.err"):
            trained(out, executor=on_slurm("local"))
        disturbing.result()
    assert trained(out, executor=on_slurm("local")) == expected
