"""What the operating system refuses is told as what it is, from whatever library it comes."""

import errno
import json
import multiprocessing
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from trapmid import cli
from trapmid.engine import save_checkpoint
from trapmid.errors import _REFUSALS, UserError, in_words
from trapmid.files import write_atomic


def torch_save(file: Path) -> None:
    with file.open("wb") as stream:
        torch.save({"weights": torch.ones(10_000)}, stream)


@contextmanager
def small_files(size: int = 2000) -> Iterator[None]:
    """Inside, no file of this process can grow beyond `size` bytes, not even that of pytest's output."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_text("text" * 1000),
        lambda file: save_file({"weights": torch.ones(10_000)}, file),
        torch_save,
        lambda file: pq.write_table(pa.table({"column": np.arange(100_000)}), file),
    ],
    ids=["python", "safetensors", "torch", "parquet"],
)
def test_a_file_that_may_not_grow_is_told_as_one_by_every_library_that_writes(write: Any, tmp_path: Path) -> None:
    with small_files(), pytest.raises((OSError, SafetensorError, RuntimeError)) as raised:
        write(tmp_path / "file")
    assert "would grow beyond what the file system or `ulimit -f` allows" in (in_words(raised.value) or "")


def test_a_full_disk() -> None:
    full: Exception = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if Path("/dev/full").exists():  # Linux has it: every write to it fails like this
        with pytest.raises(OSError, match="No space left") as raised:
            Path("/dev/full").write_text("text")
        full = raised.value
    rust = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    for problem in (full, rust):
        assert "disk is full. Free some space or choose another --out" in (in_words(problem) or "")


@pytest.mark.parametrize(
    "ask",
    [lambda: torch.empty(2**50), lambda: np.empty(2**50), lambda: bytearray(2**60)],
    ids=["torch", "numpy", "python"],
)
def test_memory_that_is_not_there(ask: Any) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        ask()
    assert "Memory ran out. Lower --jobs, training.batch_size or --max-memory" in (in_words(raised.value) or "")


def test_memory_of_a_gpu() -> None:
    said = in_words(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert said is not None
    assert "Memory ran out" in said


@pytest.mark.parametrize("number", _REFUSALS)
def test_every_refusal_names_the_file_and_says_what_to_do(number: int) -> None:
    said = in_words(OSError(number, os.strerror(number), "/runs/mine/scores.json"))
    assert said is not None
    assert said.startswith("/runs/mine/scores.json: ")
    assert said.endswith(".")
    assert "bug" not in said


def test_what_is_our_mistake_stays_one() -> None:
    for problem in (KeyError("x"), RuntimeError("shape mismatch"), FileNotFoundError(errno.ENOENT, "none", "x")):
        assert in_words(problem) is None
    handled = ValueError("wrong")
    handled.__context__ = FileExistsError(errno.EEXIST, "there", "x")
    assert in_words(handled) is None
    assert in_words(UserError("Name a recipe.")) == "Name a recipe."


def _as_a_stranger(folder: Path, told: Any) -> None:
    if os.geteuid() == 0:  # whom nothing is refused
        os.setgroups([])
        os.setuid(65534)
    try:
        write_atomic(folder / "file", "content")
    except OSError as problem:
        told.send(in_words(problem))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_folder_that_is_not_mine_to_write_in(tmp_path: Path) -> None:
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    tmp_path.chmod(0o555)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    stranger = context.Process(target=_as_a_stranger, args=(tmp_path, there))
    stranger.start()
    stranger.join()
    assert here.poll()
    assert "you may not read it, or not write there" in here.recv()


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["trapmid", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_a_command_on_a_disk_that_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_files():
        assert command(monkeypatch, "train", "--recipe", "demo", "--out", str(tmp_path / "run"), "--device", "cpu") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Error: A file would grow beyond what the file system or `ulimit -f` allows" in said
    assert list((tmp_path / "run").iterdir()) == []


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, 1, 0.0, {"net": torch.nn.Linear(2, 2)})
    before = file.read_bytes()
    with small_files(20_000), pytest.raises((OSError, RuntimeError)) as raised:
        save_checkpoint(file, 2, 0.0, {"net": torch.nn.Linear(200, 200)})
    assert "would grow beyond" in (in_words(raised.value) or "")
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_an_out_below_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert command(monkeypatch, "train", "--recipe", "demo", "--out", str(tmp_path / "file" / "x")) == 2
    assert "is a file. Expected a folder for the run" in " ".join(capsys.readouterr().err.split())
    assert json.dumps((tmp_path / "file").read_text()) == '"mine"'
