# SPDX-License-Identifier: MIT
"""Notices an agent that has fallen silent, and lets the agent notice a silent notebook.

Once a second the agent is asked for a sign of life. Time is counted in our own beats and not by a
clock, so that a notebook that was itself stopped for a while does not blame its target. The agent's
one thread does everything: while it does what it was asked it is silent.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..errors import TargetError

if TYPE_CHECKING:
    from ..targets.lease import Lease
    from .connection import Connection
from .exchange import Reply

BEAT = 1.0
TOLD_AFTER = 4


class Heartbeat:
    """Watches one connection; ``silence`` is how many seconds it has not heard anything."""

    def __init__(self, connection: Connection, lease: Lease) -> None:
        self.silence = 0
        self._connection = connection
        self._lease = lease
        self._heard = -1
        self._reply: Reply | None = None
        threading.Thread(target=self._beat, name=f"kpmagic heartbeat {connection.name}",
                         daemon=True).start()  # fmt: skip

    @property
    def remark(self) -> str:
        """What a user should know now, or ``""``."""
        if self.silence < TOLD_AFTER:
            return ""
        return f"no word from {self._connection.name} for {self.silence} s"

    def _beat(self) -> None:
        connection = self._connection
        while not connection.wait_for_loss(BEAT):
            self._listen()
            if self.silence >= connection.patience(self._lease.lost):
                connection.give_up(f"no word from it for {self.silence} s")
                return
            if self._reply is None:
                self._ask()

    def _listen(self) -> None:
        heard = self._connection.heard
        waiting = self._reply is not None and not self._reply.done.is_set()
        self.silence = self.silence + 1 if waiting and heard == self._heard else 0
        self._heard = heard
        if not waiting:
            self._reply = None

    def _ask(self) -> None:
        try:
            self._reply = self._connection.ask("ping", lease_ms=self._lease.undo_ms)
        except TargetError:
            self._reply = None  # the connection tells its loss itself
