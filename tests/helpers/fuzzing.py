"""The rule of all fuzz tests: a command succeeds, or says in one sentence what is wrong and changes no file."""

import hashlib
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trapmid import cli

SECONDS = 120.0
"""A command that trains nothing and takes longer than this hangs; a report takes half a minute on a busy machine."""


class Accepted(Exception):  # noqa: N818 (no error: the place where a fuzz test stops)
    """Everything was checked, and the trainings would begin."""


def stop_before_training(patch: pytest.MonkeyPatch) -> None:
    """Let commands end where they would begin to train: by then, all that they were given has been checked."""

    def accepted(*_: Any, **__: Any) -> None:
        raise Accepted

    for name in (
        "trapmid.audit.run.run",
        "trapmid.audit.run.measure_finished",
        "trapmid.reproduction.command.reproduce",
    ):
        patch.setattr(name, accepted)
    patch.setattr("trapmid.cli._explain", _explained(cli._explain))


def _explained(explain: Any) -> Any:
    def told(problem: Exception) -> int:
        return 0 if isinstance(problem, Accepted) else int(explain(problem))

    return told


def contents(*folders: Path) -> dict[Path, str]:
    """The digest of every file in folders."""
    return {
        file: hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def check(arguments: list[str], kept: list[Path], capfd: pytest.CaptureFixture[str], counts: Counter[str]) -> int:
    """Run a command and hold it to the rule.

    Args:
        arguments: what stands behind `trapmid`.
        kept: folders in which a refused command changes nothing.
        capfd: reads what was printed.
        counts: of exit codes, to be reported.
    """
    before, started = contents(*kept), time.monotonic()
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["trapmid", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
    code = int(left.value.code or 0)
    printed = capfd.readouterr()
    told = f"trapmid {arguments!r}\n{printed.out}\n{printed.err}"
    assert code in (0, 2), told
    assert "bug in trapmid" not in printed.err, told
    assert "Traceback" not in printed.err, told
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]", printed.err + printed.out), told
    assert time.monotonic() - started < SECONDS, told
    if code == 2:
        assert printed.err.strip() or printed.out.strip(), told
        errors = [line for line in printed.err.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1 or "╭" in printed.out + printed.err or arguments[0] == "doctor", told
        assert all(len(line) < 4000 + sum(map(len, arguments)) for line in errors), told
        assert contents(*kept) == before, told
    counts[str(code)] += 1
    return code


HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), -float("inf"),
    "", "x", "nan", "..", "../../etc", "a/b", "\x1b[2J", "é漢", "\u202e", "x" * 300, [], [[]], {}, [None],
    {"kind": "none"}, {"kind": "nothing"}, {"kind": None}, {"kind": []}, [1, 2], [2, 1], ["a"], {"": 1},
)  # fmt: skip


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value in which one place, drawn at random, holds something else, is gone, or stands twice."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        action = rng.random()
        if action < 0.06:
            return {name: one for name, one in value.items() if name != key}
        if action < 0.1:
            return {**value, rng.choice(["", "kind", "extra", "__class__", key + " "]): rng.choice(HOSTILE_VALUES)}
        return {**value, key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        if rng.random() < 0.15:
            return [*value, value[place]]
        return [*value[:place], mutated(value[place], rng), *value[place + 1 :]]
    return rng.choice(HOSTILE_VALUES)


def damaged(text: bytes, rng: random.Random) -> bytes:
    """Bytes that were cut off, changed, or filled with what is no JSON."""
    place = rng.randrange(len(text))
    return rng.choice(
        [
            text[:place],
            text[:place] + bytes([rng.randrange(256)]) + text[place + 1 :],
            text[:place] + b"\xff\xfe" + text[place:],
            b"\xef\xbb\xbf" + text,
            text.decode().encode("utf-16"),
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"",
            b"\0" * 64,
            b"null",
            b"[]",
            b"9" * 10_000,
            text.replace(b"0.", b"1e999", 1),
            text + text,
        ]
    )
