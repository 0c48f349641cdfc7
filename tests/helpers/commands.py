"""Commands of trapmid, run in this process."""

import sys
from pathlib import Path

import pytest

from trapmid import cli


def run(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["trapmid", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
    return int(left.value.code or 0)


def refused(folder: Path, capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error, in one line, of a command that is refused in `folder`, where an empty folder `here` stays alone."""
    (folder / "here").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*arguments) == 2
    assert [one.name for one in folder.iterdir()] == ["here"]
    return " ".join(capfd.readouterr().err.split())
