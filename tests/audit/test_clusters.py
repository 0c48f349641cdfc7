"""What a node of a cluster does with a task, and what the command does with its outcome."""

import threading
from pathlib import Path

import pytest

from helpers.runs import tiny_recipe
from trapmid.audit.clusters import ATTEMPTS, Outcome, carry_out, parse_settings, submitting_to
from trapmid.audit.plan import Task, plan
from trapmid.audit.workers import Work
from trapmid.engine import Compute, no_progress
from trapmid.types import UserError

CPU = Compute("cpu")


def test_a_task_that_fails_names_its_node_and_leaves_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "priors").write_text("in the way of a folder")
    task = next(task for task in plan(tiny_recipe()) if task.kind == "prior")
    outcome = carry_out((task, tiny_recipe(), tmp_path, CPU, ()))
    assert outcome.problem.startswith(f"`{task.name}` failed on {outcome.node}: ")
    (file,) = (tmp_path / "failures").iterdir()
    assert str(file) in outcome.problem
    assert file.read_text().startswith(f"{task.name} on {outcome.node}")
    assert "Traceback" in file.read_text()


def run(outcomes: list[Outcome], tmp_path: Path) -> list[str]:
    """Run a task that ends with each of the outcomes in turn; returns what was told."""
    told: list[str] = []
    left = iter(outcomes)

    def run_once(work: Work, over: threading.Event) -> Outcome:
        assert work[0] == Task("measure")
        return next(left)

    with submitting_to(run_once, lambda patient: None, 1, lambda *message: told.append(message[-1])) as submit:
        submit(Task("measure"), tiny_recipe(), tmp_path, CPU).result()
    assert not list(left)
    return told


def test_a_preempted_task_is_submitted_again(tmp_path: Path) -> None:
    preempted = Outcome("a", preempted=True, saved=True)
    told = run([*[preempted] * 2 * ATTEMPTS, Outcome("b")], tmp_path)
    assert told == ["submitted", "preempted on a"] * 2 * ATTEMPTS + ["submitted", "on b"]


def test_a_task_that_never_reaches_a_checkpoint_is_given_up(tmp_path: Path) -> None:
    saved, in_vain = Outcome("a", preempted=True, saved=True), Outcome("a", preempted=True)
    with pytest.raises(UserError, match="`measure` was preempted 3 times in a row before it reached a checkpoint"):
        run([in_vain, saved, *[in_vain] * ATTEMPTS], tmp_path)


def test_an_interruption_ends_the_wait_and_cancels_at_once(tmp_path: Path) -> None:
    cancelled = []

    def run_once(work: Work, over: threading.Event) -> None:
        assert over.wait(60)

    def interrupted() -> None:
        with submitting_to(run_once, cancelled.append, 1, no_progress) as submit:
            submit(Task("measure"), tiny_recipe(), tmp_path, CPU)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cancelled == [False]


def test_settings_are_read_and_mistakes_told() -> None:
    settings = ("slurm_partition=gpu", "gpus_per_node=1", "num_gpus=0.5", "address=10.0.0.1:6379")
    assert parse_settings(settings) == {
        "slurm_partition": "gpu",
        "gpus_per_node": 1,
        "num_gpus": 0.5,
        "address": "10.0.0.1:6379",
    }
    with pytest.raises(UserError, match=r"--cluster 'gpu': expected KEY=VALUE"):
        parse_settings(("gpu",))
