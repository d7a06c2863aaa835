# SPDX-License-Identifier: MIT
"""A shell command on the target whose output is passed on as it comes."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..agent import wire

if TYPE_CHECKING:
    from .connection import Connection

TICK = 0.2  # how often a waiting caller looks whether the target is still there, in s


class Command:
    """A shell command that runs on a target, without a probe."""

    def __init__(self, connection: Connection, command: str, cwd: str | None) -> None:
        self.connection = connection
        self.number = connection.new_number()
        self.exit_code = -1
        self._pieces: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        connection.listen(self.number, self)
        self._reply = connection.ask("run", run=self.number, command=command, cwd=cwd)

    def output(self) -> Iterator[tuple[str, str]]:
        """Yield (stream, text) as it comes; afterwards ``exit_code`` is known."""
        try:
            while not self._reply.done.is_set() or not self._pieces.empty():
                try:
                    yield self._pieces.get(timeout=TICK / 2)
                except queue.Empty:
                    if not self.connection.alive and not self._reply.done.is_set():
                        raise self.connection.lost() from None
            self.exit_code = int(self._reply.answer()[0]["exit_code"])
        except BaseException:
            if self.connection.alive and not self._reply.done.is_set():
                self.connection.request("kill", run=self.number)
            raise
        finally:
            self.connection.forget(self.number)
            self.connection.forget_reply(self._reply)

    def on_frame(self, frame: wire.Frame) -> None:
        """Take a piece of output."""
        if frame.type == wire.LOG:
            message = wire.unpack_json(frame.payload)
            self._pieces.put((str(message.get("stream")), str(message.get("text"))))

    def on_lost(self) -> None:
        """`output` sees it by itself."""
