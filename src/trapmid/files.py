"""Writing files as a whole, and locks between processes. Imports nothing of trapmid."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

PRIVATE = 0o600
"""The mode of a file that only its owner may read."""
LOCK = ".lock"
"""What the name of a lock's file ends with."""


@contextmanager
def replacing(file: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Open a stream whose content becomes `file` when the block ends without an error.

    Until then, and after an error or a crash, `file` is as it was before. The content goes to a new file beside it, under a name
    that no other process uses, reaches the disk, and is then renamed, so any number of processes may write the same file at once:
    the last one to finish wins, and readers see one whole version or another.

    Args:
        file: what to write. Its folder has to exist.
        mode: permissions of the new file, before the umask takes its share; `PRIVATE` for what others must not read.

    Raises:
        OSError: the folder is missing or may not be written to, or the disk is full.
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
    """Write all of `content` to `file`, or leave `file` as it is; see `replacing`. Text becomes UTF-8 and keeps its line ends."""
    with replacing(file, mode) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
    return file


@contextmanager
def alone(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of `path`, which one process at a time can have, and wait for it as long as that takes.

    The lock is a file beside `path`. The operating system lifts it when its holder ends, however it ends, so a killed process holds
    up nobody. On a network file system it holds if that passes `flock` on to its server, as NFS 4 does.

    Args:
        path: what is to be read, changed or made by one process only. Its folder is made if it is not there.
        waiting: called once a second while another process has the lock.
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
        with suppress(PermissionError):  # Windows keeps what is open
            Path(lock.lock_file).unlink()
        lock.release()
