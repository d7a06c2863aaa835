# SPDX-License-Identifier: MIT
"""Rows that travel as Arrow batches: each payload is one Arrow IPC stream with its schema."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ..errors import RecordingError
from ..record import Layout
from .arrow import check, from_arrow
from .frames import Table, to_arrow
from .recording import PROBE, Rows

# numbers of fields: Message.header, DictionaryBatch.data, RecordBatch.compression
MESSAGE_HEADER, DICTIONARY_DATA, BATCH_COMPRESSION = 2, 1, 3
# what Arrow raises on bytes that are not its own; ArrowInvalid is a ValueError
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError,
                MemoryError, OverflowError, struct.error)  # fmt: skip


def pack(arrow: Any) -> bytes:
    """Return a pyarrow.Table as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    return bytes(sink.getvalue())


def unpack(payload: bytes) -> Any:
    """Return the pyarrow.Table in ``payload``. Raises RecordingError."""
    try:
        _refuse_compressed(payload)
        with pa.ipc.open_stream(pa.BufferReader(payload)) as reader:
            check(reader.schema)
            arrow = reader.read_all()
        arrow.validate(full=True)  # its offsets and codes may point anywhere
    except ARROW_ERRORS as error:
        raise RecordingError(f"its rows are damaged: {first_line(error)}") from None
    return arrow


def _refuse_compressed(payload: bytes) -> None:
    """Refuse batches that would unpack to more than their own bytes; kpmagic writes none.

    Arrow does not tell, so this looks into its flatbuffers (format/Message.fbs). Raises
    RecordingError, struct.error.
    """
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(payload)):
        data = bytes(message.metadata)
        (start,) = struct.unpack_from("<I", data)
        batch = _field(data, start, MESSAGE_HEADER)
        if batch and message.type == "dictionary":
            batch = _field(data, batch, DICTIONARY_DATA)
        if batch and message.type != "schema" and _field(data, batch, BATCH_COMPRESSION):
            raise RecordingError("its rows are compressed, which no recording's are")


def _field(data: bytes, table: int, number: int) -> int:
    """Return where a table's field, itself a table, begins; 0 when it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if struct.unpack_from("<H", data, vtable)[0] <= 4 + 2 * number:
        return 0
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]
    at = table + offset
    return at + int(struct.unpack_from("<I", data, at)[0]) if offset else 0


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _but_probe(arrow: Any) -> list[Any]:
    """Return the columns but that of the place, which recordings of one place may not have."""
    return [field for field in arrow.schema if field.name != PROBE]


def joined(arrows: list[Any]) -> Any:
    """Return tables as one. Raises RecordingError when their columns differ."""
    try:
        return pa.concat_tables(arrows)
    except ARROW_ERRORS as error:
        raise RecordingError(f"its parts do not fit together: {first_line(error)}") from None


class Batches(Rows):
    """Rows in memory, fed as Arrow batches with the columns of ``empty``, a table without rows.

    ``more``: behind those the batches may have others, which the first of them tells.
    """

    def __init__(self, layouts: Iterable[Layout], empty: Any, more: bool = False) -> None:
        super().__init__(layouts)
        self._arrows = [empty]
        self._more = more
        self._lock = threading.Lock()

    @classmethod
    def like(cls, rows: Rows, more: bool = False) -> Batches:
        """Return an empty one with the columns of ``rows``."""
        return cls(rows.layouts, to_arrow(rows.table(0)), more)

    def feed(self, payload: bytes) -> None:
        """Take one batch. Raises RecordingError."""
        arrow = unpack(payload)
        with self._lock:
            known = self._arrows[0].schema
            if self._more and list(arrow.schema)[: len(known)] == list(known):
                self._arrows[0], self._more = arrow.slice(0, 0), False
            elif not self.rows and _but_probe(arrow) == _but_probe(self._arrows[0]):
                self._arrows = [arrow.slice(0, 0)]
            elif arrow.schema != known:
                raise RecordingError("its parts do not have the same columns")
            self._arrows.append(arrow)
            self.rows += arrow.num_rows

    def table(self, limit: int | None = None) -> Table:
        """Return the columns of the first ``limit`` rows, or of all of them."""
        with self._lock:
            arrow = joined(self._arrows)
        return from_arrow(arrow if limit is None else arrow.slice(0, limit))
