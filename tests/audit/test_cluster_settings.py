"""What Ray and Slurm are told, and what is made of their answers, as far as it needs no cluster."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import tiny_recipe
from trapmid.audit import ray, slurm
from trapmid.audit.plan import plan
from trapmid.audit.workers import Work
from trapmid.engine import Compute
from trapmid.types import UserError

submitit = pytest.importorskip("submitit", reason="submitit is not installed")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def handlers() -> Iterator[list[Any]]:
    """The handlers of signals, which are put back at the end."""
    before = [signal.getsignal(one) for one in SIGNALS]
    yield before
    for one, handler in zip(SIGNALS, before, strict=True):
        signal.signal(one, handler)


@pytest.fixture
def failing(tmp_path: Path) -> Work:
    """A task that fails at once."""
    (tmp_path / "priors").write_text("in the way of a folder")
    recipe = tiny_recipe()
    (task,) = (task for task in plan(recipe) if task.kind == "prior")
    return task, recipe, tmp_path, Compute("cpu"), ()


def test_a_task_of_ray_leaves_the_signals_of_its_process_as_they_were(failing: Work, handlers: list[Any]) -> None:
    outcome = ray.run_task(failing)
    assert outcome.problem.startswith(f"`{failing[0].name}` failed on {outcome.node}: ")
    assert [signal.getsignal(one) for one in SIGNALS] == handlers


@pytest.mark.usefixtures("handlers")
def test_a_job_of_slurm_cannot_be_interrupted_while_its_outcome_is_written(failing: Work) -> None:
    outcome = slurm.run_job(failing)
    assert not outcome.preempted
    assert [signal.getsignal(one) for one in slurm.PREEMPTION] == [signal.SIG_IGN] * 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_cpus": 3}, r"--cluster num_cpus=3: this machine has 2\. Lower it"),
        ({"num_cpus": 2, "num_gpus": 0.5}, r"--cluster num_gpus=0\.5: this machine has 0\."),
        ({"memory": 2e9}, r"--cluster memory=2000000000\.0: this machine has 1e\+09\."),
    ],
)
def test_what_a_ray_of_this_machine_would_never_have(options: dict[str, float], said: str) -> None:
    there = {"CPU": 2.0, "memory": 1e9, "node:here": 1.0}
    ray._check_resources(there, {"num_cpus": 2, "memory": 1e9, "max_retries": 9})
    with pytest.raises(UserError, match=said):
        ray._check_resources(there, options)


def test_an_address_without_a_cluster_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        address = f"127.0.0.1:{cluster.getsockname()[1]}"
        for one in (address, f"ray://{address}", "auto", "local", "[::1]"):
            ray._check_reachable(one)
    for one in (address, f"ray://{address}", "127.0.0.1:99999"):
        with pytest.raises(UserError, match=r"No Ray cluster answers at .*Correct --cluster address=HOST:PORT"):
            ray._check_reachable(one)


def test_settings_that_submitit_does_not_take(tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(folder=tmp_path, cluster="local")
    slurm._configure(executor, {"timeout_min": 5, "name": "trapmid"})
    for wrong in ({"timeout": 5}, {"gpus_per_node": "many"}, {"slurm_parttiion": "gpu"}):
        with pytest.raises(UserError, match=r"submitit does not take these settings: .*Correct --cluster"):
            slurm._configure(executor, wrong)


def test_states_of_jobs_are_read_from_the_queue() -> None:
    watcher = slurm._watcher(submitit)
    assert watcher._make_command() is None
    watcher._registered = {"12", "7"}
    assert watcher._make_command()[-1] == "--jobs=12,7"
    table = b"JOBID       |STATE       |\n12          |RUNNING     |\n7_0         |PREEMPTED   |\n"
    assert watcher.read_info(table) == {
        "12": {"JobID": "12", "State": "RUNNING"},
        "7_0": {"JobID": "7_0", "State": "PREEMPTED"},
    }
    watcher._finished = {"12", "7"}
    assert watcher._make_command() is None
