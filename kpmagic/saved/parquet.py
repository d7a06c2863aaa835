# SPDX-License-Identifier: MIT
"""A recording as a Parquet file: the rows as its columns, all else as text in its metadata."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RecordingError
from ..record import Layout
from ..rows.arrow import check, from_arrow
from ..rows.batches import ARROW_ERRORS, first_line
from ..rows.frames import Table
from ..rows.recording import Rows

MAGIC = b"PAR1"
GROUP = 1 << 17  # rows that are written, and read, at once
# the most that rows may take in memory for each byte of their file; real ones take 3 to 30
EXPANSION = 256
LEAST_LIMIT = 64 << 20


def write(file: BinaryIO, arrows: Iterator[Any], metadata: Mapping[str, str]) -> None:
    """Write tables of the same columns, at least one, in pieces of about GROUP rows."""
    first = next(arrows).replace_schema_metadata(None)
    schema = first.schema
    texts = [field.name for field in schema if _is_text(field.type)]
    with pq.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=texts, write_page_checksum=True,
        column_encoding={"time": "DELTA_BINARY_PACKED"} if "time" in schema.names else None,
    ) as writer:  # fmt: skip
        writer.add_key_value_metadata(dict(metadata))
        for piece in _regrouped(chain([first], arrows)):
            writer.write_table(piece.unify_dictionaries(), GROUP)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_dictionary(kind) or kind == pa.string())


def _regrouped(arrows: Iterable[Any]) -> Iterator[Any]:
    held: list[Any] = []
    rows = 0
    for arrow in arrows:
        held.append(arrow)
        rows += arrow.num_rows
        if rows >= GROUP:
            yield pa.concat_tables(held)
            held, rows = [], 0
    if rows:
        yield pa.concat_tables(held)


class Stored(Rows):
    """Rows that stay in their Parquet file until somebody asks for them.

    The file is kept open: replacing or removing it takes nothing away. Raises RecordingError.
    """

    def __init__(self, path: Path, layouts: Iterable[Layout] = ()) -> None:
        super().__init__(layouts)
        self._lock = threading.Lock()
        with _readable():
            file = pa.OSFile(str(path))
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True)
            _check(self._parquet, file.size())
        self.rows = self._parquet.metadata.num_rows

    @property
    def metadata(self) -> dict[str, str]:
        """The texts beside the rows. Raises RecordingError."""
        with _readable():
            raw: Mapping[bytes, bytes] = self._parquet.metadata.metadata or {}
            return {key.decode(): text.decode() for key, text in raw.items()}

    def feed(self, payload: bytes) -> None:
        """Refuse: what is stored is complete."""
        raise RecordingError("a stored recording takes no further rows")

    def table(self, limit: int | None = None) -> Table:
        """Return the columns of the first ``limit`` rows, or of all. Raises RecordingError."""
        if limit is None:
            with self._lock, _readable():
                arrow = self._parquet.read()
                arrow.validate(full=True)  # a code may name no text of its dictionary
        else:
            arrow = self._first(limit)
        if arrow.num_rows != (self.rows if limit is None else min(limit, self.rows)):
            raise RecordingError("it has not as many rows as it says")
        return from_arrow(arrow)

    def arrows(self, rows: int = GROUP) -> Iterator[Any]:
        """Yield the rows as tables of at most ``rows``, at least one. Raises RecordingError."""
        yield self._parquet.schema_arrow.remove_metadata().empty_table()
        left = self.rows
        with self._lock, _readable():
            for batch in self._parquet.iter_batches(rows):
                batch.validate(full=True)
                left -= batch.num_rows
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
        if left:
            raise RecordingError("it has not as many rows as it says")

    def _first(self, limit: int) -> Any:
        empty, *rest = islice(self.arrows(max(limit, 1)), 2)
        return rest[0].slice(0, limit) if rest else empty


def _check(parquet: Any, size: int) -> None:
    """Refuse what no recording is, before anything is made of the size it says it has."""
    check(parquet.schema_arrow)
    said = parquet.metadata
    groups = [said.row_group(at) for at in range(said.num_row_groups)]
    if sum(group.num_rows for group in groups) != said.num_rows or said.num_rows < 0:
        raise RecordingError("its parts have not as many rows as it says")
    limit = max(EXPANSION * size, LEAST_LIMIT)
    width = sum(_width(field.type) for field in parquet.schema_arrow)
    unpacked = sum(max(group.total_byte_size, 0) for group in groups)
    if said.num_rows * width > limit or unpacked > limit:
        raise RecordingError(f"it claims {said.num_rows} rows in a file of {size} bytes")


def _width(kind: Any) -> int:
    """Return about how many bytes a value takes in memory."""
    if pa.types.is_fixed_size_list(kind):
        return max(int(kind.list_size), 1) * _width(kind.value_type)
    return 8 if pa.types.is_primitive(kind) else 16


@contextmanager
def _readable() -> Iterator[None]:
    """Turn what the reader says of damaged bytes into a RecordingError."""
    try:
        yield
    except ARROW_ERRORS as error:
        raise RecordingError(f"it is damaged: {first_line(error)}") from None
