# SPDX-License-Identifier: MIT
"""Rows that travel as Arrow batches: each payload is one Arrow IPC stream with its schema."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from .arrow import check, from_arrow
from .errors import RecordingError
from .frames import Table, to_arrow
from .model import Layout
from .recording import Rows

# what Arrow raises on bytes that are not its own; ArrowInvalid is a ValueError
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError,
                MemoryError, OverflowError)  # fmt: skip


def pack(arrow: Any) -> bytes:
    """Return a pyarrow.Table as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    return bytes(sink.getvalue())


def unpack(payload: bytes) -> Any:
    """Return the pyarrow.Table in ``payload``. Raises RecordingError."""
    try:
        with pa.ipc.open_stream(pa.BufferReader(payload)) as reader:
            check(reader.schema)
            arrow = reader.read_all()
        arrow.validate(full=True)  # its offsets and codes may point anywhere
    except ARROW_ERRORS as error:
        raise RecordingError(f"its rows are damaged: {first_line(error)}") from None
    return arrow


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def joined(arrows: list[Any]) -> Any:
    """Return tables as one. Raises RecordingError when their columns differ."""
    try:
        return pa.concat_tables(arrows)
    except ARROW_ERRORS as error:
        raise RecordingError(f"its parts do not fit together: {first_line(error)}") from None


class Batches(Rows):
    """Rows in memory, fed as Arrow batches with the columns of ``empty``, a table without rows."""

    def __init__(self, layouts: Iterable[Layout], empty: Any) -> None:
        super().__init__(layouts)
        self._arrows = [empty]
        self._lock = threading.Lock()

    @classmethod
    def like(cls, rows: Rows) -> Batches:
        """Return an empty one with the columns of ``rows``."""
        return cls(rows.layouts, to_arrow(rows.table(0)))

    def feed(self, payload: bytes) -> None:
        """Take one batch. Raises RecordingError."""
        arrow = unpack(payload)
        with self._lock:
            if arrow.schema != self._arrows[0].schema:
                raise RecordingError("its parts do not have the same columns")
            self._arrows.append(arrow)
            self.rows += arrow.num_rows

    def table(self, limit: int | None = None) -> Table:
        """Return the columns of the first ``limit`` rows, or of all of them."""
        with self._lock:
            arrow = joined(self._arrows)
        return from_arrow(arrow if limit is None else arrow.slice(0, limit))
