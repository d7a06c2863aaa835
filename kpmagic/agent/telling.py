# SPDX-License-Identifier: MIT
"""What a run says beside its rows: LOG, LOST and END frames (agent/wire.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kpmagic.agent import wire
from kpmagic.agent.channel import Channel
from kpmagic.agent.workload import Workload

COUNTERS_NS = 250_000_000
SIGN_NS = 1_000_000_000
CHANGING = (*wire.COUNTERS, "missed", "busy_ns")  # counters worth telling: time passes anyway


class Telling:
    """The frames of run ``number`` that are no rows."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel = channel
        self._number = number
        self._when = 0
        self._counters: dict[str, int] = {}

    def log(self, stream: str, text: str) -> None:
        """Pass text on; the wire has the streams."""
        message = wire.pack_json({"stream": stream, "text": text})
        self._channel.send(wire.LOG, self._number, message)

    def remark(self, text: str) -> None:
        """Say what the user should know, if that is anything."""
        if text:
            self.log("agent", text)

    def still_here(self) -> None:
        """Let the notebook know, now and then, that a start or an end goes on: nothing new."""
        now = time.monotonic_ns()
        if now - self._when >= SIGN_NS:
            self._send(now, self._counters or dict.fromkeys(wire.COUNTERS, 0))
            self._channel.flush()

    def counters(self, read: Callable[[int], dict[str, int]]) -> bool:
        """Tell what ``read`` returns at this time if it is new; False: it is too soon to look."""
        now = time.monotonic_ns()
        if now - self._when < COUNTERS_NS:
            return False
        found, last = read(now), self._counters
        if any(found[name] != last.get(name) for name in CHANGING if name in found):
            self._send(now, found)
        self._when, self._counters = now, found
        return True

    def _send(self, now: int, counters: dict[str, int]) -> None:
        self._channel.send(wire.LOST, self._number, wire.pack_json(counters))
        self._when, self._counters = now, counters

    def output(self, workload: Workload, ready: set[int]) -> None:
        """Pass on each piece of a command's output that is there."""
        for stream, text in workload.read(ready):
            self.log(stream, text)

    def plain_end(self, reason: str, error: str | None, code: int | None) -> None:
        """Send the end of what counts nothing itself; ``code`` is that of its command, if any."""
        self.end({
            "reason": reason,
            "counters": {},
            "in_flight": None,
            "missed": None,
            "workload": None if code is None else {"exit_code": code},
            "error": error,
            "maps": [],
        })  # fmt: skip

    def end(self, message: dict[str, Any], blob: bytes = b"") -> None:
        """Send the last frame."""
        self._channel.send(wire.END, self._number, wire.pack(message, blob))
