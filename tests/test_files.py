"""A file is written as a whole or not at all, however many write it at once."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from trapmid.files import PRIVATE, replacing, write_atomic


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    file = write_atomic(tmp_path / "file", "ä\r\n\n")
    assert file.read_bytes() == "ä\r\n\n".encode()
    write_atomic(file, b"\xff")
    assert file.read_bytes() == b"\xff"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_after_an_error_the_file_is_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    file = write_atomic(tmp_path / "file", "before")

    def fails() -> None:
        with replacing(file) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        fails()
    assert file.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("mode", "expected"), [(PRIVATE, 0o600), (0o666, 0o640)])
def test_permissions_follow_the_umask_and_never_the_file_that_was_there(
    tmp_path: Path, mode: int, expected: int
) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    file.chmod(0o644)
    before = os.umask(0o027)
    try:
        with replacing(file, mode) as stream:
            (new,) = tmp_path.glob("*.new")
            assert stat.S_IMODE(new.stat().st_mode) == expected  # from the first byte on
            stream.write(b"after")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == expected


def test_the_longest_name_a_file_may_have(tmp_path: Path) -> None:
    assert write_atomic(tmp_path / ("n" * 255), "content").read_text() == "content"


def _write_often(file: Path, letter: str) -> None:
    for _ in range(50):
        write_atomic(file, letter * 10_000)


def test_writers_at_the_same_time_never_mix(tmp_path: Path) -> None:
    file = write_atomic(tmp_path / "file", "a")
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(file, letter)) for letter in "abc"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert len(set(file.read_text())) == 1
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
