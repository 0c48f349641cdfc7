"""Worker processes: they need nothing of the main script, end with their parent, and tell how they ended."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from helpers.runs import TINY_AUDIT
from trapmid.audit.plan import Task
from trapmid.audit.run import default_jobs
from trapmid.audit.tasks import Session
from trapmid.audit.workers import submitting
from trapmid.engine import Compute, no_progress
from trapmid.recipes import choose_recipe
from trapmid.types import UserError

CPU, AUTO = Compute("cpu"), Compute("auto")
ROOT = Path(__file__).parents[2]


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [one for one in process.children() if any("trapmid.audit.workers" in word for word in one.cmdline())]


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_workers_that_are_stopped_take_no_other_child_of_the_program_along(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    child.start()
    here = psutil.Process()

    def stopped() -> None:
        with submitting(2, Session(), no_progress) as submit:
            submit(Task("measure"), choose_recipe("demo"), tmp_path, CPU)
            while not workers_of(here):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert workers_of(here) == []
    assert child.is_alive()
    child.kill()
    child.join()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_and_no_bug(tmp_path: Path) -> None:
    with submitting(2, Session(), no_progress) as submit:
        future = submit(Task("prior", "cgan"), choose_recipe("demo"), tmp_path, CPU)
        while not (found := workers_of(psutil.Process())):
            time.sleep(0.01)
        found[0].kill()
        with pytest.raises(UserError, match=r"worker process of `prior cgan` was killed by signal 9.*fewer --jobs"):
            future.result()


@pytest.mark.slow
def test_what_cannot_be_sent_to_a_worker_is_no_bug(tmp_path: Path) -> None:
    class Local(type(tmp_path)):  # type: ignore[misc]
        """A class that no other process can import."""

    with submitting(2, Session(), no_progress) as submit:
        future = submit(Task("prior", "cgan"), choose_recipe("demo"), Local(tmp_path), CPU)
        with pytest.raises(UserError, match=r"`prior cgan` cannot be sent to another process.*--jobs 1"):
            future.result()


def gpus_of_workers(jobs: int, out: Path) -> list[str]:
    """The GPUs that worker processes see, with as many tasks as workers."""
    with submitting(jobs, Session(), no_progress) as submit:
        for _ in range(jobs):
            submit(Task("measure"), choose_recipe("demo"), out, AUTO)
        while len(found := workers_of(psutil.Process())) < jobs:
            time.sleep(0.01)
        return sorted(one.environ()["CUDA_VISIBLE_DEVICES"] for one in found)


def pretend_gpus(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.slow
def test_each_worker_has_a_gpu_of_its_own_unless_there_are_too_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pretend_gpus(2, monkeypatch)
    assert gpus_of_workers(2, tmp_path) == ["0", "1"]
    assert gpus_of_workers(5, tmp_path) == ["0", "0", "0", "1", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7f")
    assert gpus_of_workers(2, tmp_path) == ["5", "GPU-7f"]


def test_the_gpu_of_a_worker_that_is_killed_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pretend_gpus(2, monkeypatch)
    recipe, here = choose_recipe("demo", changes=TINY_AUDIT), psutil.Process()
    with submitting(2, Session(), no_progress) as submit:
        for _ in range(2):
            future = submit(Task("prior", "unknown"), recipe, tmp_path, AUTO)
            while not (found := workers_of(here)):
                time.sleep(0.01)
            assert [one.environ()["CUDA_VISIBLE_DEVICES"] for one in found] == ["0"]
            found[0].kill()
            with pytest.raises(UserError, match="killed by signal 9"):
                future.result()


def test_a_machine_with_gpus_runs_one_task_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert CPU.gpus == ()
    pretend_gpus(3, monkeypatch)
    assert default_jobs(CPU) == len(psutil.Process().cpu_affinity())
    for device, jobs in {"cuda": 3, "auto": 3, "cuda:1": 1}.items():
        assert default_jobs(Compute(device)) == jobs
    assert Compute("cuda:1").gpus == ()
    assert Compute("cuda").gpus == ("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,2")
    pretend_gpus(2, monkeypatch)
    assert Compute("cuda").gpus == ("4", "2")


def test_the_device_is_chosen_where_a_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Compute("auto")
    pretend_gpus(1, monkeypatch)
    assert there.torch_device == torch.device("cuda", 0)
    monkeypatch.undo()
    assert pickle.loads(pickle.dumps(there)).torch_device == torch.device("cpu")


@pytest.mark.slow
def test_what_a_task_raises_comes_home_with_where_it_was_raised(tmp_path: Path) -> None:
    recipe = choose_recipe("demo", changes=(*TINY_AUDIT, "model.start=null"))
    with submitting(2, Session(), no_progress) as submit:
        future = submit(Task("train", defense="unknown"), recipe, tmp_path, CPU)
        with pytest.raises(UserError, match="has no defense 'unknown'") as raised:
            future.result()
        again = submit(Task("train", defense="unknown"), recipe, tmp_path, CPU)
        with pytest.raises(UserError, match="has no defense 'unknown'"):
            again.result()
        assert len(workers_of(psutil.Process())) == 1
    assert "In the worker process of `train unknown seed 0`" in raised.value.__notes__[0]
    assert "audit/tasks.py" in raised.value.__notes__[0]


@pytest.mark.slow
def test_the_script_of_the_readme_runs_as_it_stands_there(tmp_path: Path, environment: dict[str, str]) -> None:
    """Without a guard around its main part, with two workers."""
    (code,) = re.findall(
        r"The same in Python:\n\n```python\n(import trapmid.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    recipe = 'trapmid.choose_recipe("celeba64-cpu", private="private.parquet", public="public.parquet")'
    assert recipe in code
    script = code.replace(recipe, f'trapmid.choose_recipe("demo", changes={TINY_AUDIT!r})')
    script = script.replace('run_audit(recipe, "runs/mine")', 'run_audit(recipe, "runs/mine", jobs=2)')
    (tmp_path / "mine.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{Path('runs/mine/report.html')}\n"  # no worker ran the script again
    assert json.loads((tmp_path / "runs" / "mine" / "scores.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_sigterm_ends_a_command_and_its_workers_in_order_and_it_resumes(
    jobs: int, tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "trapmid", "train", "--recipe", "demo", "--out", str(out), "--device", "cpu"]
    command += ["--jobs", str(jobs), "--set", *TINY_AUDIT, "training.epochs=40"]
    if jobs > 1:
        command[3:4] = ["audit"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as begun:
        deadline = time.monotonic() + 600
        while not list(out.glob("models/*.partial/log.jsonl")):
            assert begun.poll() is None, begun.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = workers_of(psutil.Process(begun.pid))
        assert bool(workers) == (jobs > 1)
        begun.send_signal(signal.SIGTERM)
        _, told = begun.communicate(timeout=60)
    assert begun.returncode == 143
    assert "Terminated. Run the same command to resume." in told
    assert "bug" not in told
    assert not any(worker.is_running() for worker in workers)
    assert list(out.glob("models/*.partial/checkpoint.pt"))
    assert not list(out.rglob("*.new"))
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert again.returncode == 0, again.stderr
    assert not list(out.rglob("*.partial"))
