# SPDX-License-Identifier: MIT
"""What has arrived of one run of another tracer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ..agent import wire
from ..errors import RecordingError
from ..life import Workload
from ..outcome import Outcome
from ..rows.recording import Rows
from . import saving
from .saving import AnyOutput


class PeerLife:
    """What has arrived of one run of a tracer.

    ``printed`` is what the tool has said of maps and losses; its lines are ``rows``, the same
    thing but in recordings. ``ending`` is called when no more will come, and sets ``ended``.
    """

    def __init__(
        self, number: int, printed: AnyOutput, rows: Rows, command: str | None
    ) -> None:
        self.number = number
        self.printed = printed
        self.rows = rows
        self.workload = None if command is None else Workload(command)
        self.reason = ""
        self.error = ""
        self.said = ""
        self.last_words = ""
        self.remarks: list[str] = []
        self.ended = threading.Event()
        self.ending: Callable[[], None] = self.ended.set

    @classmethod
    def past(cls, printed: AnyOutput, rows: Rows, went: Outcome, said: str) -> PeerLife:
        """Return the life that went so."""
        life = cls(0, printed, rows, None)
        life.reason, life.error, life.last_words = went.reason, went.error, went.last_words
        life.workload = None if went.workload is None else replace(went.workload)
        life.remarks, life.said = list(went.remarks), said
        life.ended.set()
        return life

    def on_frame(self, frame: wire.Frame) -> None:
        """Take a frame, in the reader's thread."""
        if frame.type == wire.DATA:
            self._on_rows(frame.payload)
        elif frame.type == wire.LOG:
            message = wire.unpack_json(frame.payload)
            self._on_log(str(message["stream"]), str(message["text"]))
        elif frame.type == wire.END:
            message, maps = wire.unpack(frame.payload)
            self.printed.end()
            self.error = self.error or str(message.get("error") or "")
            self.last_words = str(message.get("last_words") or "")
            if maps:  # of a replay
                self._on_maps(maps)
            if self.workload is not None and message.get("workload"):
                self.workload.exit_code = message["workload"].get("exit_code")
            self.reason = str(message["reason"])
            self.ending()

    def _on_rows(self, payload: bytes) -> None:
        try:
            self.rows.feed(payload)
        except RecordingError as error:
            self.error = error.message

    def _on_maps(self, maps: bytes) -> None:
        try:
            saving.restore(self.printed, maps)
        except ValueError as error:
            self.error = f"its recording is damaged: {error}"

    def _on_log(self, stream: str, text: str) -> None:
        if stream == "tool":
            self.said += text
        elif stream == "agent":
            self.remarks.append(text)
        elif self.workload is not None:
            setattr(self.workload, stream, getattr(self.workload, stream) + text)

    @property
    def failed(self) -> bool:
        """Whether it went otherwise than it should."""
        return bool(self.error)

    def on_lost(self) -> None:
        """No further frame will come."""
        if not self.ended.is_set() and not self.reason:
            self.printed.end()
            self.reason = "target-lost"
            self.ending()
