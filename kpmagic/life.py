# SPDX-License-Identifier: MIT
"""One life of a probe: from ``start`` to its END frame, filled by the reader thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from .agent import wire
from .errors import RecordingError
from .recording import Recording


@dataclass
class Workload:
    """The command of ``--while``: its exit code is None while it runs, or when it was killed."""

    command: str
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""


class Life:
    """What has arrived of one run number."""

    def __init__(self, number: int, recording: Recording, command: str | None) -> None:
        self.number = number
        self.recording = recording
        self.workload = None if command is None else Workload(command)
        self.counters: dict[str, int] = {}
        self.losses: list[tuple[int, int, int]] = []
        self._rows_before = 0
        self.missed: int | None = None
        self.in_flight: int | None = None
        self.reason = ""
        self.error = ""
        self.remarks: list[str] = []
        self.maps: tuple[list[dict[str, Any]], bytes] = ([], b"")
        self.ended = threading.Event()

    def on_frame(self, frame: wire.Frame) -> None:
        """Take a frame. What cannot be understood ends up in ``error``, for others to raise."""
        try:
            if frame.type == wire.DATA:
                self.recording.feed(frame.payload)
            elif frame.type == wire.LOST:
                self._on_counters(wire.unpack_json(frame.payload))
            elif frame.type == wire.LOG:
                self._on_log(wire.unpack_json(frame.payload))
            elif frame.type == wire.END:
                self._on_end(*wire.unpack(frame.payload))
        except (RecordingError, wire.WireError, KeyError, TypeError) as error:
            self.error = self.error or f"{type(error).__name__}: {error}"

    def on_lost(self) -> None:
        """No further frame will come."""
        if not self.ended.is_set():
            self.reason = "target-lost"
            self.ended.set()

    def _on_counters(self, counters: dict[str, int]) -> None:
        lost = counters.get("dropped", 0) - self.counters.get("dropped", 0)
        if lost > 0:
            self.losses.append((self._rows_before, self.recording.rows, lost))
        self.counters, self._rows_before = counters, self.recording.rows

    def _on_log(self, message: dict[str, Any]) -> None:
        stream, text = message["stream"], str(message["text"])
        if stream == "agent":
            self.remarks.append(text)
        elif self.workload is not None:
            setattr(self.workload, "stderr" if stream == "stderr" else "stdout",
                    getattr(self.workload, stream) + text)  # fmt: skip

    def _on_end(self, message: dict[str, Any], blob: bytes) -> None:
        try:
            self.reason = str(message["reason"])
            self._on_counters(message["counters"])
            self.missed, self.in_flight = message.get("missed"), message.get("in_flight")
            self.error = self.error or str(message.get("error") or "")
            self.maps = (message.get("maps") or [], blob)
            if self.workload is not None and message.get("workload"):
                self.workload.exit_code = message["workload"].get("exit_code")
        finally:
            self.ended.set()
