# SPDX-License-Identifier: MIT
"""A run whose handlers BCC is compiling: it becomes a session when they are planted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kpmagic.agent.arguments import Start
from kpmagic.agent.bccprobes import BccProbes
from kpmagic.agent.channel import Channel
from kpmagic.agent.refusal import Refused
from kpmagic.agent.session import Planted, Session
from kpmagic.agent.stillness import Change
from kpmagic.agent.workload import Workload

PATIENCE_MS = 50
MOST_SAID = 1 << 16

Become = Callable[[Session], None]
Refuse = Callable[[Refused], None]


class Compiling:
    """From the start of BCC's process until its probes are there; then ``become`` is called."""

    def __init__(
        self, channel: Channel, number: int, asked: Start, become: Become, refuse: Refuse
    ) -> None:
        """Spawn the command held back, make the maps, start BCC. Raises Refused."""
        self.number = number
        self.ended = False
        self.patience_ms = PATIENCE_MS
        self._channel = channel
        self._asked = asked
        self._become, self._refuse = become, refuse
        self._began = time.monotonic_ns()
        self._said = ""
        self._workload: Workload | None = None
        if asked.command is not None:
            self._workload = Workload(number, asked.command, asked.cwd)
        cgroup = self._workload.cgroup.id if self._workload and asked.follow else 0
        self._change = Change(self._workload)
        try:
            self._probes = BccProbes(asked, cgroup, number)
        except BaseException:
            self._change.over()
            if self._workload is not None:
                self._workload.close()
            raise

    def waits_for(self, room: bool) -> list[int]:
        """Return the descriptors to poll for reading."""
        return [*self._probes.tool.waits_for(True), self._probes.tool.control.fileno()]

    def step(self, ready: set[int]) -> None:
        """See whether it is ready, or has given up."""
        tool = self._probes.tool
        tool.look()
        if tool.output in ready:
            tool.read()
        self._said = (self._said + tool.errors.read())[-MOST_SAID:]
        if tool.exit_code is not None:
            self._said += tool.errors.rest()
            self._give_up()
        elif tool.heard():
            self._planted()

    def _planted(self) -> None:
        took = time.monotonic_ns() - self._began
        self._change.over()
        planted = Planted(self._probes, self._workload, took)
        try:
            session = Session(self._channel, self.number, self._asked, planted)
        except Refused as refused:
            self._probes.close()
            self.ended = True
            self._refuse(refused)
            return
        self._become(session)

    def _give_up(self) -> None:
        code = self._probes.tool.exit_code
        self.close()
        self.ended = True
        refused = Refused("tool", f"bcc ended with {code}", errno=code, log=self._said,
                          program="bcc")  # fmt: skip
        self._refuse(refused)

    def fail(self, refused: Refused) -> None:
        """Give up for another reason. Raises OSError."""
        self.ended = True
        self._refuse(refused)
        self.close()

    def stop(self, reason: str) -> None:
        """Give up; the start is then refused."""
        self._probes.tool.kill()

    def kill(self) -> None:
        """Kill the command, which has not begun."""
        if self._workload is not None:
            self._workload.kill()

    def aggregates(self) -> tuple[list[dict[str, Any]], bytes]:
        """Nothing has been counted yet. Raises Refused."""
        raise Refused("request", "the probes are not there yet")

    def places(self) -> list[dict[str, Any]]:
        """Nothing has been planted yet. Raises Refused."""
        raise Refused("request", "the probes are not there yet")

    def close(self) -> None:
        """Undo everything without another word."""
        if self._workload is not None:
            self._workload.close()
        self._probes.close()
        self._change.over()
