# SPDX-License-Identifier: MIT
"""A command that runs by itself: its output goes to the notebook as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kpmagic.agent import wire
from kpmagic.agent.channel import Channel
from kpmagic.agent.refusal import Refused
from kpmagic.agent.workload import Workload

PATIENCE_MS = 200


class Command:
    """A workload without a probe; ``when_ended`` is called with its exit code, or ``refuse``."""

    patience_ms = PATIENCE_MS

    def __init__(
        self,
        channel: Channel,
        number: int,
        command: str,
        cwd: str | None,
        when_ended: Callable[[int], None],
        refuse: Callable[[Refused], None],
    ) -> None:
        """Start it. Raises Refused."""
        self.number = number
        self.ended = False
        self._channel = channel
        self._when_ended, self._refuse = when_ended, refuse
        self._workload = Workload(number, command, cwd)
        self._workload.release()
        self.waits_for = self._workload.waits_for
        self.kill = self._workload.kill
        self.close = self._workload.close

    def step(self, ready: set[int]) -> None:
        """Pass on what came out; tell the end."""
        send_output(self._channel, self.number, self._workload, ready)
        if self._workload.exit_code is not None:
            self._workload.close()
            self._when_ended(self._workload.exit_code)
            self.ended = True

    def fail(self, refused: Refused) -> None:
        """Kill it and say why. Raises OSError."""
        self.ended = True
        self._refuse(refused)
        self.close()


def send_output(channel: Channel, number: int, workload: Workload, ready: set[int]) -> None:
    """Queue a LOG frame for each piece of output that is there."""
    for stream, text in workload.read(ready):
        channel.send(wire.LOG, number, wire.pack_json({"stream": stream, "text": text}))


def send_end(
    channel: Channel, number: int, reason: str, error: str | None, code: int | None
) -> None:
    """Send the END of a run that counts nothing itself; ``code`` is that of its command, if any."""
    end: dict[str, Any] = {
        "reason": reason,
        "counters": {},
        "in_flight": None,
        "missed": None,
        "workload": None if code is None else {"exit_code": code},
        "error": error,
        "maps": [],
    }
    channel.send(wire.END, number, wire.pack(end))
