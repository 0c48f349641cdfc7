"""Atomic writing of files, and locks between processes. This module imports nothing else of trapmid."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

PRIVATE = 0o600
"""The mode of a file that only its owner may read."""
LOCK = ".lock"
"""The suffix of the name of a lock file."""


@contextmanager
def replacing(file: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Open a stream for the new content of `file`, which replaces the old content when the block ends without an error.

    Until then, and after an error or a crash, `file` keeps its old content. The new content is written to another file
    in the same folder, whose name no other process uses. When it has reached the disk, that file is renamed to `file`.
    So several processes may write the same file at the same time: the last one to finish wins, and readers always see
    one complete version.

    Args:
        file: the file to write. Its folder has to exist.
        mode: permissions of the new file, to which the umask is applied; `PRIVATE` for a file that others must not
            read.

    Raises:
        OSError: the folder does not exist or is not writable, or the disk is full.
    """
    new = file.with_name(f"{file.name[:200]}.{os.urandom(6).hex()}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:  # noqa: PTH123
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write_atomic(file: Path, content: str | bytes, mode: int = 0o666) -> Path:
    """Write `content` to `file` completely or not at all; see `replacing`. Returns `file`.

    Text is encoded as UTF-8, and its line ends are kept.
    """
    with replacing(file, mode) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
    return file


@contextmanager
def alone(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of `path`. Only one process at a time can hold it; the others wait without a time limit.

    The lock is a file beside `path`. The operating system releases it when the process that holds it ends, even if that
    process is killed. On a network file system it works if the file system passes `flock` on to its server, as NFS 4
    does.

    Args:
        path: the file or folder that only one process may read, change or make. Its parent folder is created if
            necessary.
        waiting: called once a second while another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + LOCK))
    timeout = 0.0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            waiting()
            timeout = 1.0
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows does not delete a file that another process has open
            Path(lock.lock_file).unlink()
        lock.release()
