# SPDX-License-Identifier: MIT
"""What has arrived of one run of another tracer."""

from __future__ import annotations

from ..agent import wire
from ..life import AnyLife
from ..outcome import Outcome
from ..rows.recording import Rows
from . import saving
from .saving import AnyOutput


class PeerLife(AnyLife):
    """What has arrived of one run of a tracer.

    ``printed`` is what the tool has said of maps and losses; its lines are ``rows``, the same
    thing but in recordings.
    """

    def __init__(
        self, number: int, printed: AnyOutput, rows: Rows, command: str | None
    ) -> None:
        super().__init__(number, command)
        self.printed = printed
        self.rows = rows
        self.said = ""

    @classmethod
    def past(cls, printed: AnyOutput, rows: Rows, outcome: Outcome, said: str) -> PeerLife:
        """Return the life that went as ``outcome`` says."""
        life = cls(0, printed, rows, None).went(outcome)
        life.said = said
        return life

    def on_lost(self) -> None:
        """No further frame will come."""
        if not self.ended.is_set():
            self.printed.end()
        super().on_lost()

    def _take(self, frame: wire.Frame) -> None:
        if frame.type == wire.DATA:
            self.rows.feed(frame.payload)
        elif frame.type == wire.LOG:
            self._on_log(frame)
        elif frame.type == wire.END:
            message, maps = wire.unpack(frame.payload)
            self.printed.end()
            if maps:  # of a replay
                self._on_maps(maps)
            self._on_end(message)

    def _on_maps(self, maps: bytes) -> None:
        try:
            saving.restore(self.printed, maps)
        except ValueError as error:
            self.error = f"its recording is damaged: {error}"

    def _on_text(self, stream: str, text: str) -> None:
        if stream == "tool":
            self.said += text
        else:
            super()._on_text(stream, text)
