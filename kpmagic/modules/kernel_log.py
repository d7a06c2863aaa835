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

from ..frames import Table, to_engine

# include/linux/kern_levels.h
LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
_ESCAPED = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")


class Record(NamedTuple):
    """A line of the kernel's log; ``time`` in ns since boot, ``level`` one of LEVELS' places."""

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


class KernelLog:
    """The log of one run: fed by the reader thread, read by anybody.

    ``clock_offset`` ns turn time since boot into wall-clock time.
    """

    def __init__(self, clock_offset: int = 0) -> None:
        self.clock_offset = clock_offset
        self._records: list[Record] = []
        self._lock = threading.Lock()

    def feed(self, text: str) -> None:
        """Take records as the agent sends them."""
        records = parse(text.splitlines())
        with self._lock:
            self._records += records

    @property
    def rows(self) -> int:
        """How many lines there are."""
        return len(self._records)

    def records(self) -> list[Record]:
        """Return the lines so far."""
        with self._lock:
            return list(self._records)

    def df(self, engine: str = "pandas") -> object:
        """Return time, level and text: ``pandas`` or ``polars`` DataFrame, or ``arrow`` Table."""
        records = self.records()
        times = np.array([each.time + self.clock_offset for each in records], np.int64)
        table = Table({"time": times.view("datetime64[ns]")}, len(records))
        codes = np.array([each.level for each in records], np.int32)
        table.add_names("level", list(LEVELS), codes)
        texts = [each.text.encode("utf-8", "replace").decode() for each in records]
        table.add("text", pa.array(texts, pa.string()), is_text=True)
        return to_engine(table, engine)
