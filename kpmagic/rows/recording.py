# SPDX-License-Identifier: MIT
"""DATA frames + layouts → columns. Raw bytes are decoded when there are many, and not kept."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..agent import wire
from ..errors import RecordingError
from ..model import Site
from ..record import HEADER_FIELDS, CType, Field, Layout
from .columns import Array, Column, decode, empty, join, record_dtype
from .frames import Table, handed_out, to_arrow, to_engine
from .stack_names import STACKS, StackNames, Walks, walks

if TYPE_CHECKING:
    import pandas as pd

PID = CType("int", 4, True, "s32")
# the header's columns as a user sees them; ts becomes time
SHOWN_HEADER = {"cpu": PID, "pid": PID, "tid": PID, "comm": HEADER_FIELDS[6].type}
ROW, SITE = "row", "site"
PROBE = "probe"  # the column that tells several places apart
MANY = 1 << 20  # bytes: few rows take as long to decode as some thousands


class Rows(ABC):
    """The rows of one run, wherever they lie."""

    def __init__(self, layouts: Iterable[Layout]) -> None:
        self.layouts = tuple(layouts)
        self.rows = 0
        self.walks: dict[str, Walks] = {}
        self._frame: pd.DataFrame | None = None

    @abstractmethod
    def feed(self, payload: bytes) -> None:
        """Take the payload of a DATA frame. Raises RecordingError."""

    def keep(self, type_: int, payload: bytes) -> None:  # noqa: B027 - most keep rows only
        """Take the payload of another frame of the run. Raises OSError."""

    def walked(self, name: str, walks: Walks) -> None:
        """Count how the walks of more stacks went."""
        self.walks[name] = self.walks.get(name, Walks()) + walks

    def remarks(self) -> list[str]:
        """Return what the user must know of the rows: stacks that are not there."""
        types = {field.name: field.type for layout in self.layouts for field in layout.fields}
        return [remark for name, each in self.walks.items()
                for remark in each.remarks(name, types[name])]  # fmt: skip

    @abstractmethod
    def table(self, limit: int | None = None) -> Table:
        """Return the columns of the first ``limit`` rows, or of all of them."""

    def arrows(self) -> Iterator[Any]:
        """Yield the rows as pyarrow.Tables of the same columns, at least one."""
        yield to_arrow(self.table())

    def df(self, engine: str = "pandas") -> Any:
        """Return the rows as a DataFrame of ``pandas`` or ``polars``, or an ``arrow`` table."""
        if engine != "pandas":
            return to_engine(self.table(), engine)
        frame = self._frame
        if frame is None or len(frame) != self.rows:
            frame = self._frame = to_engine(self.table(), engine)
        return handed_out(frame)

    def head(self, count: int) -> pd.DataFrame:
        """Return the first ``count`` rows without touching the others."""
        frame: pd.DataFrame = to_engine(self.table(count), "pandas")
        return frame


class Recording(Rows):
    """The rows of one run in memory: fed by the reader thread, read by anybody.

    ``clock_offset`` ns turn the kernel's CLOCK_MONOTONIC into wall-clock time, ``names`` the
    addresses of stacks into functions. ``several``: rows say which of the sites was hit.
    """

    def __init__(
        self,
        layouts: Sequence[Layout],
        sites: Sequence[Site],
        record_size: int,
        clock_offset: int = 0,
        names: StackNames | None = None,
        several: bool = False,
    ) -> None:
        super().__init__(layouts)
        self._several = several or len(sites) > 1
        self.names = names or StackNames()
        self.sites = tuple(sites)
        self.record_size = record_size
        self.clock_offset = clock_offset
        self.stride = -(-(record_size + wire.RING_HEADER) // 8) * 8
        self._header = record_dtype(HEADER_FIELDS, wire.RING_HEADER, self.stride)
        self._shapes = {
            layout.row: record_dtype(layout.fields, wire.RING_HEADER, self.stride)
            for layout in self.layouts
        }
        self._raw = bytearray()  # records that have come and are not decoded yet
        self._pieces: dict[tuple[int, str], list[Column]] = {}
        self._lock = threading.Lock()

    def feed(self, payload: bytes) -> None:
        """Take whole records as they lie in the ring buffer. Raises RecordingError."""
        if len(payload) % self.stride:
            raise RecordingError(
                f"{len(payload)} bytes are not whole records of {self.stride} bytes"
            )
        with self._lock:
            self._raw += payload
            self.rows += len(payload) // self.stride
            if len(self._raw) >= MANY:
                self._decode()

    def remarks(self) -> list[str]:
        """See Rows."""
        with self._lock:
            self._decode()
        return super().remarks()

    def _decode(self) -> None:
        """Turn what has come into columns; the lock is held."""
        raw, self._raw = self._raw, bytearray()
        if not raw:
            return
        for key, column in self._decoded(raw, np.frombuffer(raw, self._header)):
            self._pieces.setdefault(key, []).append(column)

    def _decoded(
        self, payload: bytearray, header: Array
    ) -> Iterator[tuple[tuple[int, str], Column]]:
        """Yield the columns of one batch: (layout's row or -1 for the header, name), column."""
        raw = {field.name: header[f"f{at}"] for at, field in enumerate(HEADER_FIELDS)}
        yield (-1, "time"), (raw["ts"].astype(np.int64) + self.clock_offset).view("datetime64[ns]")
        for name in ("cpu", "pid", "tid"):
            yield (-1, name), raw[name].astype(np.int32)
        yield (-1, "comm"), decode(SHOWN_HEADER["comm"], raw["comm"])
        if self._several:
            yield (-1, SITE), raw[SITE].copy()
        if len(self.layouts) > 1:
            yield (-1, ROW), raw[ROW].copy()
        for layout in self.layouts:
            records = np.frombuffer(payload, self._shapes[layout.row])
            if len(self.layouts) > 1:
                records = records[raw[ROW] == layout.row]
            for at, field in enumerate(layout.fields):
                if field.type.kind in STACKS:
                    self.walked(field.name, walks(field.type.kind, records[f"f{at}"]))
                yield (layout.row, field.name), decode(field.type, records[f"f{at}"])

    def table(self, limit: int | None = None) -> Table:
        """Return the columns of the first ``limit`` rows, or of all of them."""
        with self._lock:
            self._decode()
            count = self.rows if limit is None else min(limit, self.rows)
            header = {name: self._take(-1, name, ctype, count)
                      for name, ctype in SHOWN_HEADER.items()}  # fmt: skip
            time = self._take(-1, "time", None, count)
            table = Table({"time": time, **header}, count)
            if self._several:
                codes = self._take(-1, SITE, CType("int", 2), count)
                table.add_names(PROBE, [site_name(site) for site in self.sites], codes)
            fields = list(self._fields(count))
        # not under the lock: a name may be asked of the target, and the thread that brings the
        # answer must not wait in `feed` meanwhile
        one = len(self.layouts) < 2
        for name, parts in fields:
            named = [(where, self._named(ctype, column, time if one else time[where]))
                     for ctype, where, column in parts]  # fmt: skip
            is_text = parts[0][0].kind == "string"
            if one:
                table.add(name, named[0][1], is_text)
            else:
                table.add_parts(name, named, is_text)
        return table

    def _fields(self, count: int) -> Iterator[tuple[str, list[tuple[CType, Array, Column]]]]:
        """Yield each column's name and its parts: type, numbers of rows, values as they came.

        Of a single layout all rows have all columns, and are not numbered.
        """
        if len(self.layouts) < 2:
            for field in self.layouts[0].fields if self.layouts else ():
                column = self._take(self.layouts[0].row, field.name, field.type, count)
                yield field.name, [(field.type, np.empty(0, np.int64), column)]
            return
        rows = self._take(-1, ROW, CType("int", 2), count)
        for name, owners in _owners(self.layouts):
            parts = []
            for layout, field in owners:
                where = np.flatnonzero(rows == layout.row)
                column = self._take(layout.row, name, field.type, len(where))
                parts.append((field.type, where, column))
            yield name, parts

    def _named(self, ctype: CType, column: Column, time: Array) -> Column:
        """Return a column as it is shown: stacks as lists of names."""
        if ctype.kind not in STACKS:
            return column
        return self.names.lists(ctype.kind, column, time.view(np.int64) - self.clock_offset)

    def _take(self, row: int, name: str, ctype: CType | None, count: int) -> Column:
        """Return the first ``count`` values; all of them are joined once and kept so."""
        pieces = self._pieces.get((row, name), [])
        if not pieces:
            return np.empty(0, "datetime64[ns]") if ctype is None else empty(ctype)
        if sum(map(len, pieces)) == count:
            pieces[:] = [join(pieces)]
            return pieces[0]
        return join(list(_first(pieces, count)))


def _first(pieces: Iterable[Column], count: int) -> Iterator[Column]:
    """Yield pieces until there are ``count`` values; at least one piece."""
    for piece in pieces:
        yield piece[:count]
        count -= len(piece)
        if count <= 0:
            return


def _owners(layouts: Iterable[Layout]) -> Iterator[tuple[str, list[tuple[Layout, Field]]]]:
    """Yield each column's name and the layouts that have it, in order of first appearance."""
    owners: dict[str, list[tuple[Layout, Field]]] = {}
    for layout in layouts:
        for field in layout.fields:
            owners.setdefault(field.name, []).append((layout, field))
    yield from owners.items()


def site_name(site: Site) -> str:
    """Return what the ``probe`` column shows: ``vfs_read`` or ``vfs_read+0x5``."""
    return f"{site.symbol}+{site.offset:#x}" if site.offset else site.symbol


