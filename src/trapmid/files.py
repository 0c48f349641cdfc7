"""Writing files so that nobody ever sees half of one. Imports nothing of trapmid."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PRIVATE = 0o600
"""The mode of a file that only its owner may read."""


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
