# SPDX-License-Identifier: MIT
"""QEMU's monitor: one command and its answer at a time, as JSON lines."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

PATIENCE = 10.0  # s for one answer


class MonitorError(Exception):
    """QEMU refused, or does not answer."""


class Monitor:
    """The monitor at the other end of a socket. Every method raises MonitorError."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.settimeout(PATIENCE)
        self._rest = b""
        self._number = 0

    def do(self, command: str, **arguments: Any) -> Any:
        """Have a command done; return what it returns."""
        return self._do(command, arguments, [])

    def give(self, name: str, fd: int) -> None:
        """Give QEMU a file descriptor, which other commands call ``fd:NAME``."""
        self._do("getfd", {"fdname": name}, [fd])

    def migrated(self) -> None:
        """Wait until the migration that goes on is complete."""
        end = time.monotonic() + PATIENCE
        while (status := self.do("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > end:
                raise MonitorError(f"migration: {status}")
            time.sleep(0.002)

    def close(self) -> None:
        """Hang up; QEMU goes on."""
        self._socket.close()

    def _do(self, command: str, arguments: dict[str, Any], fds: list[int]) -> Any:
        self._number += 1
        if self._number == 1:
            self._next()
            self.do("qmp_capabilities")
        number = self._number
        message = {"execute": command, "arguments": arguments, "id": number}
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode() + b"\n"], fds)
        except OSError as error:
            raise MonitorError(f"{command}: {error}") from None
        while True:
            answer = self._next()
            if answer.get("id") != number:
                continue  # an event, or what was not waited for any more
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise MonitorError(f"{command}: {answer['error'].get('desc')}")

    def _next(self) -> dict[str, Any]:
        """Return the next answer or event."""
        while b"\n" not in self._rest:
            try:
                piece = self._socket.recv(1 << 16)
            except OSError as error:
                raise MonitorError(f"no answer: {error}") from None
            if not piece:
                raise MonitorError("QEMU hung up")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return dict(json.loads(line))
