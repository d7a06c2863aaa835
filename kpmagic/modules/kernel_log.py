# SPDX-License-Identifier: MIT
"""Records of /dev/kmsg → a table of time, level and text.

The format is Documentation/ABI/testing/dev-kmsg: ``priority,sequence,µs,flags;text``; lines that
begin with a blank tell more of the record before them, and unprintable bytes are ``\\xNN``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import RecordingError
from ..rows.frames import Table, to_arrow
from ..rows.recording import Rows

# include/linux/kern_levels.h
LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
_ESCAPED = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")


class Record(NamedTuple):
    """A line of the kernel's log; ``time`` in ns since boot, ``level`` a number of LEVELS."""

    time: int
    level: int
    text: str


def parse(lines: Iterable[str]) -> list[Record]:
    """Return the records among ``lines``; what is none is left out."""
    found = []
    for line in lines:
        head, semicolon, text = line.partition(";")
        fields = head.split(",")
        if not semicolon or line.startswith(" ") or len(fields) < 3:
            continue
        if fields[0].isdigit() and fields[2].isdigit():
            record = Record(int(fields[2]) * 1000, int(fields[0]) & 7, _ESCAPED.sub(_bytes, text))
            found.append(record)
    return found


def _bytes(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("\\x", "")).decode("utf-8", "replace")


class KernelLog(Rows):
    """The log of one run: fed by the reader thread, read by anybody.

    ``clock_offset`` ns turn time since boot into wall-clock time.
    """

    def __init__(self, clock_offset: int = 0) -> None:
        super().__init__(())
        self.clock_offset = clock_offset
        self._records: list[Record] = []
        self._lock = threading.Lock()

    def feed(self, payload: bytes) -> None:
        """Take records as the agent sends them."""
        records = parse(payload.decode("utf-8", "replace").splitlines())
        with self._lock:
            self._records += records
            self.rows = len(self._records)

    def table(self, limit: int | None = None) -> Table:
        """Return time, level and text of the first ``limit`` lines, or of all of them."""
        with self._lock:
            records = self._records[:limit]
        times = np.array([each.time + self.clock_offset for each in records], np.int64)
        table = Table({"time": times.view("datetime64[ns]")}, len(records))
        levels = pa.array([LEVELS[each.level] for each in records], pa.string())
        table.add("level", levels.dictionary_encode())
        texts = [each.text.encode("utf-8", "replace").decode() for each in records]
        table.add("text", pa.array(texts, pa.string()), is_text=True)
        return table


def records(log: Rows) -> list[Record]:
    """Return the lines of a log, be it live or recorded; ``time`` is of the wall clock.

    Raises RecordingError.
    """
    arrow = pa.concat_tables(log.arrows())
    if arrow.schema != to_arrow(KernelLog().table()).schema:
        raise RecordingError("its rows are no kernel's log")
    times = arrow["time"].to_numpy().astype(np.int64).tolist()
    levels = [LEVELS.index(level) for level in arrow["level"].to_pylist()]
    return list(map(Record, times, levels, arrow["text"].to_pylist()))
