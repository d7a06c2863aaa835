# SPDX-License-Identifier: MIT
"""One recorded run, said again frame by frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from kpmagic.agent import wire
from kpmagic.errors import RecordingError
from kpmagic.rows.arrow import NANOSECONDS
from kpmagic.rows.batches import pack
from kpmagic.rows.columns import Array
from kpmagic.rows.recording import Rows
from kpmagic.saved.past import AnyPast, PeerPast

LONGEST = 3600.0  # s without a row that anybody waits for
TICK = 0.05  # rows of this many seconds, as they are shown, go together
LONGEST_SLOT = 1 << 62  # ns

Say = Callable[[int, bytes], None]
"""Called with a frame's type and payload."""


class Player:
    """Plays ``rows`` at ``speed`` times their own pace, and then tells how the run went."""

    def __init__(self, past: AnyPast, rows: Rows, speed: float, say: Say) -> None:
        self.past = past
        self._rows = rows
        self._speed = speed
        self._say = say
        self._stopped = threading.Event()
        self._reason: str | None = None
        self._sent = 0
        self._dropped = 0

    def stop(self, reason: str) -> None:
        """End it before its end; harmless afterwards."""
        self._reason = reason
        self._stopped.set()

    def leave(self) -> None:
        """End it without another word."""
        self._say = lambda type_, payload: None
        self._stopped.set()

    def play(self) -> None:
        """Say all there is to say."""
        error = ""
        self._talk()
        try:
            self._play_rows()
        except RecordingError as damage:
            error, self._reason = f"the recording cannot be played on: {damage.message}", "error"
        self._end(error)

    def _talk(self) -> None:
        """Say what the workload and the agent had said."""
        outcome = self.past.outcome
        texts = [("agent", text) for text in outcome.remarks]
        if outcome.workload is not None:
            texts += [("stdout", outcome.workload.stdout), ("stderr", outcome.workload.stderr)]
        if isinstance(self.past, PeerPast):
            texts.append(("tool", self.past.said))
        for stream, text in texts:
            if text:
                self._say(wire.LOG, wire.pack_json({"stream": stream, "text": text}))

    def _play_rows(self) -> None:
        began: int | None = None
        start = time.monotonic()
        self._count()
        for arrow in self._rows.arrows():
            for piece in self._pieces(arrow):
                times = _times(piece)
                if times is not None and self._speed < float("inf"):
                    began = int(times[0]) if began is None else began
                    due = start + (int(times[0]) - began) / 1e9 / self._speed
                    self._stopped.wait(min(max(due - time.monotonic(), 0.0), LONGEST))
                if self._stopped.is_set():
                    return
                self._say(wire.DATA, pack(piece))
                self._sent += piece.num_rows
                self._count()

    def _pieces(self, arrow: Any) -> Iterator[Any]:
        """Cut a table where rows were lost, and where time passed."""
        edges = {0, arrow.num_rows}
        for before, after, _ in self.past.outcome.losses:
            edges |= {edge - self._sent for edge in (before, after)}
        times = _times(arrow)
        if self._speed < float("inf") and times is not None:
            slots = (times - times[:1]) // min(max(int(TICK * 1e9 * self._speed), 1), LONGEST_SLOT)
            edges |= set((np.flatnonzero(np.diff(slots)) + 1).tolist())
        cuts = sorted(edge for edge in edges if 0 <= edge <= arrow.num_rows)
        for low, high in pairwise(cuts):
            yield arrow.slice(low, high - low)

    def _count(self) -> None:
        """Say the numbers where they stood when rows were lost, and between such places."""
        losses = self.past.outcome.losses
        if any(before < self._sent < after for before, after, _ in losses):
            return
        for lost in [lost for _, after, lost in losses if after == self._sent] or [0]:
            self._dropped += lost
            self._say(wire.LOST, wire.pack_json(self._counters()))

    def _counters(self) -> dict[str, int]:
        counted = {"rows": self._sent, "dropped": self._dropped, "hits": self._sent + self._dropped}
        return dict.fromkeys(wire.COUNTERS, 0) | counted

    def _end(self, error: str) -> None:
        outcome = self.past.outcome
        reason = self._reason if self._stopped.is_set() or error else None
        workload = outcome.workload
        self._say(wire.END, wire.pack({
            "reason": reason or outcome.reason,
            "counters": self._counters() if reason else dict(outcome.counters),
            "in_flight": outcome.in_flight,
            "missed": outcome.missed,
            "missed_by": getattr(self.past, "info", {}).get("missed_by"),  # another tracer has none
            "workload": None if workload is None else {"exit_code": workload.exit_code},
            "error": error or outcome.error or None,
            "last_words": outcome.last_words,
            "maps": [vars(part) for part in outcome.maps],
        }, self.past.maps))  # fmt: skip


def _times(arrow: Any) -> Array | None:
    """Return when the rows were, in ns; None where they do not say."""
    if "time" not in arrow.column_names or arrow["time"].type != NANOSECONDS:
        return None
    return arrow["time"].to_numpy().astype(np.int64) if arrow.num_rows else None


