"""A task that fails stops only the tasks that need it, and the same audit goes on once the cause is gone."""

from pathlib import Path

import pytest

from helpers.runs import TINY_AUDIT
from trapmid.audit.failures import failure_file, forget_failure, record_failure
from trapmid.audit.plan import Task, plan
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import run_audit
from trapmid.engine import Compute
from trapmid.errors import in_words
from trapmid.recipes import choose_recipe
from trapmid.types import UserError

CPU = Compute("cpu")


def recipe() -> Recipe:
    return choose_recipe("demo", changes=TINY_AUDIT, defenses=("none",), attacks=("plgmi",))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_others_go_on_and_the_same_audit_resumes(jobs: int, tmp_path: Path) -> None:
    out, notes = tmp_path / "run", []
    out.mkdir()
    for folder in ("priors", "judges"):
        (out / folder).write_text("in the way of a folder")

    def listen(task: str, done: int, total: int | None, note: str) -> None:
        if task == "audit":
            notes.append(note)

    with pytest.raises((UserError, OSError)) as raised:
        run_audit(recipe(), out, compute=CPU, jobs=jobs, progress=listen)
    assert "something else of that name is there" in str(in_words(raised.value))
    assert (out / "models" / "none-s0" / "manifest.json").exists()
    blocked = [task for task in plan(recipe()) if task.kind in ("prior", "judge")]
    (told,) = (note for note in raised.value.__notes__ if "\n" not in note)
    assert all(f"`{task.name}`" in told for task in blocked)
    assert f"1 more failed: `{blocked[0].name}`" in told or f"1 more failed: `{blocked[1].name}`" in told
    assert str(out / "failures") in told
    assert all(task.name in notes[-1] for task in blocked)
    for task in blocked:
        kept = failure_file(out, task).read_text()
        assert kept.startswith(f"{task.name} on ")
        assert "FileExistsError" in kept
    for folder in ("priors", "judges"):
        (out / folder).unlink()
    run_audit(recipe(), out, compute=CPU, jobs=jobs)
    assert (out / "scores.json").exists()
    assert not (out / "failures").exists()


def test_a_failure_is_kept_until_the_task_runs_again(tmp_path: Path) -> None:
    one, other = Task("prior", "cgan"), Task("train", defense="none", seed=3)
    for task in (one, other):
        record_failure(tmp_path, task, ValueError("a mistake"))
    assert failure_file(tmp_path, other).name == "train-none-seed-3.txt"
    assert "ValueError: a mistake" in failure_file(tmp_path, other).read_text()
    forget_failure(tmp_path, one)
    assert not failure_file(tmp_path, one).exists()
    forget_failure(tmp_path, other)
    assert list(tmp_path.iterdir()) == []
    forget_failure(tmp_path, other)


def test_a_folder_that_cannot_be_written_to_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "failures").write_text("in the way")
    record_failure(tmp_path, Task("measure"), ValueError("a mistake"))
    forget_failure(tmp_path, Task("measure"))
    assert (tmp_path / "failures").read_text() == "in the way"
