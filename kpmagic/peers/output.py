# SPDX-License-Identifier: MIT
"""What bpftrace prints (``-f json``) → rows, the newest state of each map, lost events."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..rows.frames import Table
from ..rows.recording import Rows
from .maps import Map, maps_of
from .tables import table

if TYPE_CHECKING:
    import pandas as pd

MAPS = ("map", "hist", "stats")
SILENT = ("attached_probes",)
LINES = ("printf", "time")  # text that comes in pieces, a line may take several


class Output(Rows):
    """Fed by the reader thread with bytes cut anywhere, read by anybody.

    A row is a line that the script printed, with the time at which it came here: bpftrace itself
    tells none. What it prints of a map replaces what it printed of it before.
    """

    def __init__(self, script: str = "") -> None:
        super().__init__(())
        self.lost = 0
        self._known = maps_of(script)
        self._piece = b""
        self._open = ""
        self._times: list[int] = []
        self._types: list[str] = []
        self._texts: list[str] = []
        self._maps: dict[str, tuple[str, Any]] = {}
        self._lock = threading.Lock()

    def feed(self, payload: bytes) -> None:
        """Take some of the output."""
        *lines, self._piece = (self._piece + payload).split(b"\n")
        with self._lock:
            for line in lines:
                self._line(line.decode("utf-8", "replace"))

    def end(self) -> None:
        """Take what is not a whole line as one: there will be no more."""
        with self._lock:
            if self._piece:
                self._line(self._piece.decode("utf-8", "replace"))
            if self._open:
                self._add("printf", self._open)
            self._piece, self._open = b"", ""

    def _line(self, line: str) -> None:
        if not line.strip():
            return
        try:
            message = json.loads(line)
            kind, data = str(message["type"]), message["data"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self._add("text", line)  # of a program that the script has started
            return
        if kind in LINES:
            *whole, self._open = (self._open + str(data)).split("\n")
            for each in whole:
                self._add(kind, each)
        elif kind in MAPS and isinstance(data, dict):
            self._maps |= {str(name): (kind, value) for name, value in data.items()}
        elif kind == "lost_events":
            self.lost += _count(data)
        elif kind not in SILENT:
            self._add(kind, data if isinstance(data, str) else json.dumps(data))

    def _add(self, kind: str, text: str) -> None:
        self._times.append(time.time_ns())
        self._types.append(kind)
        self._texts.append(text)
        self.rows = len(self._texts)

    def aggregates(self) -> dict[str, pd.DataFrame]:
        """Return the maps by name, each as it was printed last."""
        with self._lock:
            found = dict(self._maps)
        return {name: table(kind, value, self._known.get(name, Map()))
                for name, (kind, value) in found.items()}  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return what it has beside its rows, as JSON can hold it."""
        with self._lock:
            return {"lost": self.lost, "maps": {name: list(pair)
                                                for name, pair in self._maps.items()}}  # fmt: skip

    def restore(self, state: Any) -> None:
        """Take what `state` gave. Raises ValueError."""
        if not (isinstance(state, dict) and isinstance(state.get("lost"), int)
                and isinstance(state.get("maps"), dict)
                and all(isinstance(pair, list) and len(pair) == 2 and pair[0] in MAPS
                        for pair in state["maps"].values())):  # fmt: skip
            raise ValueError("its maps are none of bpftrace's")
        self.lost = state["lost"]
        self._maps = {str(name): (kind, value) for name, (kind, value) in state["maps"].items()}

    def table(self, limit: int | None = None) -> Table:
        """Return time, type and text of the (first ``limit``) rows."""
        with self._lock:
            count = len(self._texts) if limit is None else min(limit, len(self._texts))
            times = np.array(self._times[:count], np.int64)
            types, texts = self._types[:count], self._texts[:count]
        found = Table({"time": times.view("datetime64[ns]")}, count)
        found.add("type", pa.array(types, pa.string()).dictionary_encode())
        texts = [each.encode("utf-8", "replace").decode() for each in texts]
        found.add("text", pa.array(texts, pa.string()), is_text=True)
        return found


def _count(data: Any) -> int:
    count = data.get("events", 0) if isinstance(data, dict) else data
    return count if isinstance(count, int) else 0
