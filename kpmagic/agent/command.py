# SPDX-License-Identifier: MIT
"""A command that runs by itself: its output goes to the notebook as it comes."""

from __future__ import annotations

from collections.abc import Callable

from kpmagic.agent.channel import Channel
from kpmagic.agent.refusal import Refused
from kpmagic.agent.telling import Telling
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
        self._telling = Telling(channel, number)
        self._when_ended, self._refuse = when_ended, refuse
        self._workload = Workload(number, command, cwd)
        self._workload.release()
        self.waits_for = self._workload.waits_for
        self.kill = self._workload.kill
        self.close = self._workload.close

    def step(self, ready: set[int]) -> None:
        """Pass on what came out; tell the end."""
        self._telling.output(self._workload, ready)
        if self._workload.exit_code is not None:
            self._workload.close()
            self._when_ended(self._workload.exit_code)
            self.ended = True

    def fail(self, refused: Refused) -> None:
        """Kill it and say why. Raises OSError."""
        self.ended = True
        self._refuse(refused)
        self.close()
