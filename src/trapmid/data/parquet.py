"""Reads images from Parquet in the layout of the `datasets` library: a column of {bytes, path}, one of identities."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from trapmid.data.decoding import BrokenImage, check_regular
from trapmid.data.records import Record, StoredSource, readable
from trapmid.errors import shown
from trapmid.types import UserError

_BATCH_ROWS = 256


class ParquetSource(StoredSource):
    """A Parquet file, or a folder of Parquet files that are read in the order of their names.

    Attributes:
        path: the file or the folder.
        image_column: encoded images: a struct with a field `bytes` and optionally a field `path`, or plain binary.
        identity_column: strings or whole numbers. None if the file names no identities: every image then counts as a
            person of its own, which is enough for public images only.
    """

    kind: Literal["parquet"] = "parquet"
    image_column: str = "image"
    identity_column: str | None = "identity"

    @property
    def names_identities(self) -> bool:
        """Whether there is a column of identities."""
        return self.identity_column is not None

    def records(self) -> tuple[int, Iterator[Record]]:
        """All rows, streamed: at most one row group of encoded images is in memory at a time.

        Raises:
            UserError: there is no such file, it is not Parquet, or a column is missing, there twice or of the wrong
                type.
        """
        files = sorted(self.path.glob("*.parquet")) if self.path.is_dir() else [self.path]
        if not files:
            raise UserError(f"{self.path} holds no .parquet file. Expected a Parquet file or a folder of them.")
        counts = [self._check(file) for file in files]
        return sum(counts), (
            record
            for file, count in zip(files, counts, strict=True)
            for record in self._rows(file, count, f"{readable(file.name)} " if len(files) > 1 else "")
        )

    def _check(self, file: Path) -> int:
        """Check the columns of a file, and return the number of rows."""
        try:
            check_regular(file)
            with pq.ParquetFile(file) as parquet:
                rows, schema = int(parquet.metadata.num_rows), parquet.schema_arrow
        except BrokenImage as problem:
            raise UserError(f"{readable(file)} cannot be read ({problem}). Expected a Parquet file.") from problem
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise _unreadable(file, "cannot be read as Parquet", problem) from problem
        for column, wanted, fits in (
            (self.image_column, "a struct {bytes, path} or binary", _holds_images),
            *(
                []
                if self.identity_column is None
                else [(self.identity_column, "strings or whole numbers", _holds_names)]
            ),
        ):
            if (count := schema.names.count(column)) != 1:
                names = ", ".join(map(repr, schema.names))
                found = f"has {count} columns {column!r}" if count else f"has no column {column!r} but {names}"
                raise UserError(f"{readable(file)} {found}. Rename one, or name the one to be used.")
            if not fits(schema.field(column).type):
                raise UserError(
                    f"{readable(file)}: column {column!r} is {schema.field(column).type}, expected {wanted}."
                )
        return rows

    def _rows(self, file: Path, count: int, prefix: str) -> Iterator[Record]:
        row = 0
        columns = [self.image_column, *([] if self.identity_column is None else [self.identity_column])]
        try:
            with pq.ParquetFile(file) as parquet:
                # threads are slower if a column only has bytes to be copied
                for batch in parquet.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
                    for image, *names in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                        if row == count:
                            raise pa.ArrowInvalid(f"it announces {count} rows and has more")
                        yield _record(image, names, f"{prefix}row {row}")
                        row += 1
        except (OSError, ValueError, KeyError, pa.ArrowException) as problem:
            raise _unreadable(file, f"is damaged after row {row}", problem) from problem
        if row < count:
            raise UserError(f"{readable(file)} announces {count} rows and has {row}. Was it copied completely?")


def _unreadable(file: Path, how: str, problem: Exception) -> UserError:
    return UserError(f"{readable(file)} {how} ({shown(problem)}). Was it copied completely?")


def _record(image: dict[str, Any] | bytes | None, names: list[str | int | None], row: str) -> Record:
    fields = image if isinstance(image, dict) else {"bytes": image}
    # The file name comes first: a split sorts by origin, and so stays the same when rows are reordered.
    name = fields.get("path")
    origin = f"{name!s} ({row})" if name else row
    identity = names[0] if names else origin
    return Record("" if identity is None else str(identity), origin, fields["bytes"] or b"")


def _holds_images(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_names(kind: Any) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_integer(value))
