"""Errors that the user can correct, and plain words for errors of the operating system.

This module imports neither torch nor pydantic, so that a mistyped argument is reported at once.
"""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that the user can correct (exit code 2). The text says what arrived, what was expected, what to do."""


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Imports of packages that only an extra of trapmid brings.

    Args:
        extra: the extra, such as `zoo`.
        what: what needs it, as the beginning of a sentence.

    Raises:
        UserError: such a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        raise UserError(
            f"{what} needs the package {problem.name}, which is not installed. Install it with "
            f"`pip install 'trapmid[{extra}]'`."
        ) from problem


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the known word that is closest to `text`; empty if none is close."""
    close = difflib.get_close_matches(text, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


_AGAIN = "then run the same command again: what was finished is kept."
_REFUSALS = {
    errno.ENOSPC: f"the disk is full. Free some space or choose another --out, {_AGAIN}",
    errno.EDQUOT: f"your disk quota is used up. Free some space or choose another --out, {_AGAIN}",
    errno.EFBIG: f"a file would grow beyond what the file system or `ulimit -f` allows. Raise that limit, {_AGAIN}",
    errno.EROFS: "the file system is read-only. Choose an --out that can be written to.",
    errno.EACCES: "you may not read it, or not write there. Ask its owner for access, or choose another path.",
    errno.EPERM: "the operating system does not permit it. Ask the owner for access, or choose another path.",
    errno.EIO: "the disk reported an error. Copy what you need to another disk and check this one.",
    errno.ENOTDIR: "it lies below a file, where a folder is expected. Choose another path.",
    errno.EISDIR: "it is a folder, where a file is expected. Choose another path.",
    errno.EEXIST: "something else of that name is there. Choose another path.",
    errno.ENAMETOOLONG: "the name is longer than the file system allows. Choose a shorter path.",
    errno.ELOOP: "its symbolic links lead in a circle. Choose another path.",
    errno.EMFILE: f"too many files are open. Raise `ulimit -n` or lower --jobs, {_AGAIN}",
    errno.ENFILE: f"too many files are open on this machine. Close other programs, {_AGAIN}",
}
"""What errors of the operating system mean for the user, and what to do."""
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Errors that no program handles. They are reported even if they only caused the error that was raised."""
_NO_MEMORY = (
    f"Memory ran out. Lower --jobs, training.batch_size or --max-memory, or use a machine with more memory, {_AGAIN}"
)
_ALLOCATION_FAILED = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc|bad alloc", re.IGNORECASE
)
_NUMBER_OF_OTHERS = re.compile(r"\((?:os error|errno) (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
"""How libraries written in Rust or C++ give the number of an error in their text."""


def in_words(problem: BaseException) -> str | None:
    """Describe an error and what the user can do about it. Returns None for a bug, about which the user can do nothing.

    Libraries wrap errors of the operating system in their own errors, so the errors that led to this one are searched
    as well.
    """
    if isinstance(problem, UserError):
        return str(problem)
    for one in _chain(problem):
        if isinstance(one, MemoryError) or (isinstance(one, RuntimeError) and _ALLOCATION_FAILED.search(str(one))):
            return _NO_MEMORY
        number = _number(one)
        if number == errno.ENOMEM:
            return _NO_MEMORY
        if number in _OF_THE_DISK or (number in _REFUSALS and one is problem):
            where = getattr(one, "filename", None)
            said = _REFUSALS[number]
            return f"{os.fsdecode(where)}: {said}" if isinstance(where, str | bytes) else said[0].upper() + said[1:]
    return None


def _number(problem: BaseException) -> int | None:
    if isinstance(problem, OSError) and problem.errno is not None:
        return problem.errno
    found = _NUMBER_OF_OTHERS.search(str(problem))
    return int(found[1] or found[2]) if found else None


def _chain(problem: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = problem
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def shown(text: object, most: int = 200) -> str:
    """Prepare text from a library, a file or a server for a message: one line, without control characters, shortened.

    Args:
        text: the text, or an object whose `str` is used.
        most: the number of characters that are kept.
    """
    try:
        whole = str(text)
    except RecursionError:
        whole = "something nested too deeply"
    return repr(whole[:most])[1:-1] + ("..." if len(whole) > most else "")
