# SPDX-License-Identifier: MIT
"""What BCC's process prints (agent/bcc.py) → rows with the columns of their events, and tables."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RecordingError
from ..rows.frames import Table
from ..rows.recording import Rows
from .columns_of import column
from .tables import apart

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[int, str, dict[str, Any]]
INT64 = np.iinfo(np.int64)
BOUNDS = ("low", "high")


class BccOutput(Rows):
    """Fed by the reader thread with bytes cut anywhere, read by anybody."""

    def __init__(self, script: str = "") -> None:
        super().__init__(())
        self.lost = 0
        self._piece = b""
        self._rows: list[Row] = []
        self._tables: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def feed(self, payload: bytes) -> None:
        """Take some of the output. Raises RecordingError when a line of it is none of bcc.py's."""
        *lines, self._piece = (self._piece + payload).split(b"\n")
        foreign = []
        with self._lock:
            for line in filter(None, lines):
                try:
                    self._message(json.loads(line))
                except (ValueError, TypeError, KeyError, RecursionError):
                    foreign.append(line)
        if foreign:
            raise RecordingError(f"BCC's process has printed what is no event: {foreign[0][:80]!r}")

    def end(self) -> None:
        """There will be no more; half a line was cut off by the end of its process."""
        self._piece = b""

    def _message(self, message: dict[str, Any]) -> None:
        if message["type"] == "row":
            self._rows.append((int(message["time"]), str(message["event"]), dict(message["data"])))
            self.rows = len(self._rows)
        elif message["type"] == "lost_events":
            self.lost += int(message["data"]["events"])
        elif _is_table(message):
            self._tables[str(message["name"])] = message
        else:
            raise ValueError("neither an event nor a table")

    def aggregates(self) -> dict[str, pd.DataFrame]:
        """Return the tables by name, as they were when it ended."""
        with self._lock:
            found = dict(self._tables)
        return {name: table(message) for name, message in found.items()}

    def state(self) -> dict[str, Any]:
        """Return what it has beside its rows, as JSON can hold it."""
        with self._lock:
            return {"lost": self.lost, "tables": dict(self._tables)}

    def restore(self, state: Any) -> None:
        """Take what `state` gave. Raises ValueError."""
        if not (isinstance(state, dict) and isinstance(state.get("lost"), int)
                and isinstance(state.get("tables"), dict)
                and all(map(_is_table, state["tables"].values()))):  # fmt: skip
            raise ValueError("its tables are none of BCC's")
        self.lost, self._tables = state["lost"], state["tables"]

    def table(self, limit: int | None = None) -> Table:
        """Return time, event (where it came from) and its columns, of the first ``limit`` rows."""
        with self._lock:
            rows = self._rows[:limit]
        names = list(dict.fromkeys(name for _, _, data in rows for name in data))
        times = np.array([stamp for stamp, _, _ in rows], np.int64)
        found = Table({"time": times.view("datetime64[ns]")}, len(rows))
        events = list(dict.fromkeys(event for _, event, _ in rows))
        codes = np.array([events.index(event) for _, event, _ in rows], np.int32)
        found.add_names("event", events, codes)
        for name in names:
            values, missing = column([data.get(name) for _, _, data in rows])
            shown = apart(name, found.columns)  # an event may have a member called time, too
            found.add(shown, values, is_text=not isinstance(values, np.ndarray))
            if missing is not None:
                found.missing[shown] = missing
        return found


def _is_table(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(part), list)
                                             for part in ("keys", "columns", "rows"))  # fmt: skip


def table(message: dict[str, Any]) -> pd.DataFrame:
    """Return a table as keys, then its values; a histogram as ``low``, ``high``, ``count``."""
    import pandas as pd

    is_histogram = message["kind"] in ("log2", "linear")
    values = message["columns"] + [*BOUNDS, "count"] * is_histogram
    keys: list[str] = []
    for name in message["keys"]:  # a key and what is counted by it may have members of one name
        keys.append(apart(name, [*values, *keys]))
    names = [*keys, *message["columns"]] or ["key", "value"]
    frame = pd.DataFrame(message["rows"], columns=names)
    if is_histogram:
        frame = _histogram(frame, message)
    sortable = [name for name in frame.columns[:-1] if frame[name].map(type).nunique() <= 1
                and not frame[name].map(lambda value: isinstance(value, (list, dict))).any()]
    return frame.sort_values(sortable, ignore_index=True) if sortable else frame


def _histogram(frame: pd.DataFrame, message: dict[str, Any]) -> pd.DataFrame:
    """Return slots as bounds: the last member of a key is the slot (bcc/table.py)."""
    *keys, slot, value = frame.columns
    slots, counts = frame[slot].astype("int64"), frame[value].astype("int64")
    if message["kind"] == "log2":
        low = slots.map(lambda bits: 1 << (bits - 1) if bits > 1 else 0)
        high = slots.map(lambda bits: min(1 << max(bits, 0), INT64.max))
    else:
        low, high = slots, slots + 1
    shown = frame[keys].assign(low=low, high=high, count=counts)
    return shown[shown["count"] > 0]
