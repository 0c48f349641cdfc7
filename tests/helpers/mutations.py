"""Damaged copies of good files. Whoever reads one has to return a right result or refuse it with a UserError."""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from trapmid.types import UserError

SECONDS = 12.0
"""The time after which a fuzz test stops; the number of cases is bounded, too."""
HANGS = 20
"""Seconds after which a single case counts as a hang."""


class Hang(BaseException):
    """A case that does not end. It is not an Exception, so that no `except Exception` catches it."""


@contextmanager
def ending(seconds: int = HANGS) -> Iterator[None]:
    """Raise `Hang` if the block does not end in time."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """A copy with one to eight changes: bits, bytes, blocks, lengths, or its end."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        if not changed:
            return bytes(changed)
        at = int(rng.integers(len(changed)))
        length = int(rng.integers(1, 65))
        match int(rng.integers(8)):
            case 0:
                changed[at] ^= 1 << int(rng.integers(8))
            case 1:
                changed[at] = int(rng.integers(256))
            case 2:
                changed[at : at + length] = rng.bytes(length)
            case 3:
                changed[at : at + 4] = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"][int(rng.integers(3))]
            case 4:
                del changed[at : at + length]
            case 5:
                changed[at:at] = changed[at : at + length]
            case 6:
                changed[at : at + length] = bytes(length)
            case 7 if rng.random() < 0.3:
                del changed[at:]
            case _:
                changed[at : at + 1] = b"\x00"
    return bytes(changed)


def cases(good: list[bytes], seed: int, most: int) -> Iterator[bytes]:
    """Good contents, mutations of them and random bytes, until there are `most` of them or the time is over."""
    rng, until = np.random.default_rng(seed), time.monotonic() + SECONDS
    yield from good
    for number in range(most - len(good)):
        if time.monotonic() > until:
            return
        yield rng.bytes(int(rng.integers(2_000))) if number % 20 == 0 else mutate(good[number % len(good)], rng)


def tell(name: str, told: Counter[str]) -> None:
    """Print how many cases were read and refused; both have to occur, or the test shows nothing."""
    sys.stdout.write(f"fuzz {name}: {told['read']} read, {told['refused']} refused\n")
    assert told["read"] >= 1
    assert told["refused"] >= 50


def run(
    contents: Iterator[bytes], file: Path, read: Callable[[Path], Any], right: Callable[[Any], bool]
) -> Counter[str]:
    """Write each content to `file` and read it: how many were read and how many refused.

    A reader may return what `right` accepts or raise a `UserError`, whose text is one printable paragraph. Every
    other exception, a hang, and a file that was changed or made, is a failure; the file then has the content that
    showed it.
    """
    told: Counter[str] = Counter()
    for number, content in enumerate(contents):
        file.write_bytes(content)
        names = sorted(entry.name for entry in file.parent.iterdir())
        refusal = ""
        try:
            with ending():
                result = read(file)
        except UserError as problem:
            refusal = str(problem)
        if refusal:
            assert refusal.isprintable(), f"case {number}: {refusal:.300}"
        else:
            assert right(result), f"case {number}: a wrong result, {result!r:.200}"
        told["refused" if refusal else "read"] += 1
        assert file.read_bytes() == content, f"case {number}: the file was changed"
        assert sorted(entry.name for entry in file.parent.iterdir()) == names, f"case {number}: files were made"
    return told
