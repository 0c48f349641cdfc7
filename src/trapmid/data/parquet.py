"""Reads images from Parquet, laid out as the `datasets` library does: a column of {bytes, path}, one of identities."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from trapmid.data.records import Record, StoredSource
from trapmid.types import UserError

_BATCH_ROWS = 256


class ParquetSource(StoredSource):
    """A Parquet file, or a folder of them (shards, read in the order of their names).

    Attributes:
        path: the file or the folder.
        image_column: encoded images: a struct with a field `bytes` and perhaps a field `path`, or plain binary.
        identity_column: strings or whole numbers; None where nobody is named, so that each image is a person of its own.
    """

    kind: Literal["parquet"] = "parquet"
    image_column: str = "image"
    identity_column: str | None = "identity"

    def records(self) -> tuple[int, Iterator[Record]]:
        """All rows, streamed: at most a row group of encoded images is in memory at a time.

        Raises:
            UserError: no such file, not Parquet, a column that is missing or of the wrong type.
        """
        files = sorted(self.path.glob("*.parquet")) if self.path.is_dir() else [self.path]
        if not files:
            raise UserError(f"{self.path} holds no .parquet file. Expected a Parquet file or a folder of them.")
        total = sum(self._check(file) for file in files)
        return total, (record for file in files for record in self._rows(file, f"{file.name} " if files[1:] else ""))

    def _check(self, file: Path) -> int:
        """The number of rows of a file whose columns are as they should be."""
        try:
            with pq.ParquetFile(file) as parquet:
                rows, schema = int(parquet.metadata.num_rows), parquet.schema_arrow
        except FileNotFoundError as problem:
            raise UserError(f"{file} does not exist.") from problem
        except (OSError, pa.ArrowException) as problem:
            raise UserError(f"{file} cannot be read as Parquet ({problem}). Was it copied completely?") from problem
        for column, wanted, fits in (
            (self.image_column, "a struct {bytes, path} or binary", _holds_images),
            *([(self.identity_column, "strings or whole numbers", _holds_names)] if self.identity_column else []),
        ):
            if column not in schema.names:
                names = ", ".join(map(repr, schema.names))
                raise UserError(f"{file} has no column {column!r} but {names}. Rename one, or name the one to be used.")
            if not fits(schema.field(column).type):
                raise UserError(f"{file}: column {column!r} is {schema.field(column).type}, expected {wanted}.")
        return rows

    def _rows(self, file: Path, prefix: str) -> Iterator[Record]:
        row = 0
        columns = [column for column in (self.image_column, self.identity_column) if column]
        try:
            with pq.ParquetFile(file) as parquet:
                # threads cost more than they give where a column is bytes to be copied
                for batch in parquet.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
                    for image, *names in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                        yield _record(image, names, f"{prefix}row {row}")
                        row += 1
        except (OSError, pa.ArrowException) as problem:
            raise UserError(f"{file} is damaged after row {row} ({problem}). Was it copied completely?") from problem


def _record(image: dict[str, Any] | bytes | None, names: list[str | int | None], row: str) -> Record:
    fields = image if isinstance(image, dict) else {"bytes": image}
    # The file name comes first: a split sorts by source, and so stays the same when rows are reordered.
    name = fields.get("path")
    source = f"{name!s} ({row})" if name else row
    identity = names[0] if names else source
    return Record("" if identity is None else str(identity), source, fields["bytes"] or b"")


def _holds_images(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_names(kind: Any) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_integer(value))
