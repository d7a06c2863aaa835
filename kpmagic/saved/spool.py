# SPDX-License-Identifier: MIT
"""Rows that go straight to a file while their run goes on: memory stays as it is."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..agent import wire
from ..rows.arrow import from_arrow
from ..rows.batches import joined, pack, unpack
from ..rows.frames import Table, to_arrow
from ..rows.recording import Rows
from ..whole import replacing
from .journal import Journal, read
from .parquet import Stored, write

HEAD = 20  # rows that stay in memory, for the card


class Spool(Rows):
    """Rows in a journal at ``path``, which becomes a Parquet file when the run has ended.

    ``fresh`` returns rows in memory without any; each payload goes through such a one.
    """

    def __init__(self, path: Path, fresh: Callable[[], Rows], description: bytes) -> None:
        empty = fresh()
        super().__init__(empty.layouts)
        self._fresh = fresh
        self._empty = to_arrow(empty.table())
        self._head = [self._empty]
        self._broken = False
        self.path = path
        self._journal = Journal(path)
        try:
            self._append(wire.HELLO, description)
        except OSError:  # no room for it
            self._journal.discard()
            raise
        self._stored: Stored | None = None
        self._lock = threading.Lock()

    def feed(self, payload: bytes) -> None:
        """Take the payload of a DATA frame. Raises RecordingError, and OSError once."""
        if self._broken:
            return
        piece = self._fresh()
        piece.feed(payload)
        arrow = to_arrow(piece.table())
        for name, walks in piece.walks.items():
            self.walked(name, walks)
        self._append(wire.DATA, pack(arrow))
        with self._lock:
            if self.rows < HEAD:
                # packed, so that the slice does not keep all the others
                self._head.append(unpack(pack(arrow.slice(0, HEAD))))
            self.rows += arrow.num_rows

    def keep(self, type_: int, payload: bytes) -> None:
        """Write another frame down. Raises OSError once."""
        if not self._broken:
            self._append(type_, payload)

    def install(self, description: bytes) -> None:
        """Put the file in its place, with a newer description."""
        with contextlib.suppress(OSError):  # no room: the next row will say so
            self.keep(wire.HELLO, description)
        self._journal.install()

    def discard(self) -> None:
        """Remove the file of a run that has not started."""
        self._journal.discard()

    def _append(self, type_: int, payload: bytes) -> None:
        try:
            self._journal.append(type_, payload)
        except OSError:
            self._broken = True
            raise

    def table(self, limit: int | None = None) -> Table:
        """Return the columns of the first ``limit`` rows, or of all; these are read anew."""
        if limit is not None and limit <= HEAD:
            with self._lock:
                return from_arrow(joined(self._head).slice(0, limit))
        arrow = joined(list(self.arrows()))
        return from_arrow(arrow if limit is None else arrow.slice(0, limit))

    def arrows(self) -> Iterator[Any]:
        """Yield the rows as tables, one for each batch, at least one."""
        with self._lock:
            stored, journal = self._stored, self._journal
            fd, size = (journal.opened(), journal.size) if stored is None else (-1, 0)
        if stored is not None:
            yield from stored.arrows()
            return
        try:
            yield self._empty
            yield from (unpack(payload) for type_, payload in read(fd, size) if type_ == wire.DATA)
        finally:
            os.close(fd)

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Turn the journal into a Parquet file in its place. Raises OSError: then it stays."""
        if not self._journal.in_place:  # a later run writes there now, or somebody removed it
            return
        with replacing(self.path) as file:
            write(file, self.arrows(), metadata)
        with self._lock:
            self._stored = Stored(self.path, self.layouts)
            self._journal.close()
