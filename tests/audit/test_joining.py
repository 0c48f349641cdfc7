"""A run folder's recipe: any number of processes may add to it at once, and what cannot be read is said."""

import multiprocessing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from trapmid.audit.run import settle
from trapmid.files import alone
from trapmid.manifests import RECIPE
from trapmid.recipes import choose_recipe
from trapmid.types import UserError

PROCESSES = 12


def _join(barrier: Barrier, root: Path, number: int, rounds: int) -> None:
    recipe = choose_recipe("demo", seeds=(number,))
    for turn in range(rounds):
        barrier.wait(timeout=100)
        settle(recipe, root / f"run-{turn}")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_twelve_processes_that_join_one_folder_at_once_lose_nothing(rounds: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier: Any = context.Barrier(PROCESSES)
    joining = [context.Process(target=_join, args=(barrier, tmp_path, n, rounds)) for n in range(PROCESSES)]
    for process in joining:
        process.start()
    for process in joining:
        process.join()
    assert [process.exitcode for process in joining] == [0] * PROCESSES
    for turn in range(rounds):
        out = tmp_path / f"run-{turn}"
        assert sorted(settle(None, out).seeds) == list(range(PROCESSES))
        assert [file.name for file in out.iterdir()] == [RECIPE]


def test_a_process_that_adds_nothing_neither_waits_nor_writes(tmp_path: Path) -> None:
    recipe = settle(choose_recipe("demo", seeds=(0, 1)), tmp_path)
    when = (tmp_path / RECIPE).stat().st_mtime_ns
    with alone(tmp_path / RECIPE):
        assert settle(choose_recipe("demo", seeds=(1,)), tmp_path) == recipe
    assert (tmp_path / RECIPE).stat().st_mtime_ns == when


@pytest.mark.parametrize(
    "content", [b"\xff", b"{", b"null", b"[]", b"3", b'{"name": "x"}', b"[" * 100_000, b'{"seeds": [NaN]}']
)
def test_a_recipe_that_cannot_be_read_is_the_users_to_mend_and_stays_as_it_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / RECIPE).write_bytes(content)
    for recipe in (None, choose_recipe("demo")):
        with pytest.raises(UserError, match=r"recipe\.json"):
            settle(recipe, tmp_path)
    assert (tmp_path / RECIPE).read_bytes() == content


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_folder_that_is_a_file_or_below_one(below: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match=r"file is a file\. Expected a folder for the run"):
        settle(choose_recipe("demo"), file / below)
    assert file.read_text() == "mine"
