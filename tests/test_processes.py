"""What the parent of processes that train together does with their messages and their ends.

The processes here are programs of a line, which say what a real one would. tests/defenses/test_devices.py trains in
real ones.
"""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from trapmid.engine import Compute, run_together
from trapmid.engine.processes import _pickled, _told
from trapmid.types import UserError

START = """
import os, pickle, sys
rank = int(sys.argv[2])
def say(kind, value):
    sys.stdout.buffer.write(pickle.dumps((kind, value)))
    sys.stdout.flush()
"""
TWO = Compute("cpu", devices=2)
Program = Callable[[str], None]


def work(compute: Compute, progress: object) -> str:
    raise AssertionError("the programs of these tests do not call it")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Replaces the program of each process."""
    return lambda body: monkeypatch.setattr("trapmid.engine.processes._START", START + body)


def together(told: list[tuple[object, ...]] | None = None) -> str:
    told = [] if told is None else told
    return run_together(work, compute=TWO, progress=lambda *message: told.append(message))


def test_the_result_is_that_of_the_first_process_and_progress_is_passed_on(program: Program) -> None:
    program("say('progress', (f'train on {rank}', 1, 2, 'half')); say('done', f'of {rank}'); sys.stdin.read()")
    told: list[tuple[object, ...]] = []
    assert together(told) == "of 0"
    assert set(told) == {("train on 0", 1, 2, "half"), ("train on 1", 1, 2, "half")}


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("sys.exit(3)", "ended with exit code 3"),
        ("os.kill(os.getpid(), 9)", "was killed by signal 9"),
        ("print('a line of a library that prints', flush=True)", "ended with exit code 0"),
    ],
)
def test_a_process_that_ends_without_a_result_is_named(end: str, how: str, program: Program) -> None:
    program(f"\nif rank == 1:\n    {end}\nelse:\n    say('done', 'mine')\n    sys.stdin.read()")
    with pytest.raises(UserError, match=f"Process 1 of the 2 that train together {how}.*goes on from the last check"):
        together()


def test_what_a_process_raises_is_raised_here(program: Program) -> None:
    program("\nif rank == 1:\n    say('failed', KeyError('lost'))\nsys.stdin.read()")
    with pytest.raises(KeyError, match="lost"):
        together()


def test_an_error_says_in_which_process_it_was_raised() -> None:
    try:
        raise IndexError("out of range")
    except IndexError as problem:
        told = _told(problem, 1)
    assert isinstance(told, IndexError)
    (note,) = told.__notes__
    assert note.startswith("In process 1 of a training:\nTraceback")
    assert "out of range" in note


def test_an_error_of_the_machine_becomes_a_sentence() -> None:
    told = _told(OSError(28, "No space left on device", "checkpoint.pt"), 0)
    assert isinstance(told, UserError)
    assert "checkpoint.pt" in str(told)


def test_errors_that_cannot_be_sent_arrive_as_their_words() -> None:
    class Local(Exception):  # noqa: N818  a class within a function cannot be pickled
        pass

    kind, arrived = pickle.loads(_pickled("failed", Local("gone")))
    assert (kind, type(arrived), str(arrived)) == ("failed", RuntimeError, "Local: gone")
    kind, arrived = pickle.loads(_pickled("failed", UserError("plain")))
    assert (kind, type(arrived), str(arrived)) == ("failed", UserError, "plain")


def test_processes_share_nothing_in_the_folder_of_the_caller(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program("say('done', sys.argv[4]); sys.stdin.read()")
    store = Path(together())
    assert not store.parent.exists()
    assert not list(tmp_path.iterdir())
