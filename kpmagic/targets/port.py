# SPDX-License-Identifier: MIT
"""The channel to the agent of a sandbox."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress

from kpmagic.errors import TargetLost

CHUNK = 1 << 20


class Port:
    """The channel to the guest's agent: a socket whose other end QEMU has."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._receiving = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises TargetLost."""
        with self._sending:
            try:
                self._socket.sendall(data)
            except OSError:
                raise TargetLost(
                    "the sandbox is gone", hint="run the cell again: it boots a fresh one"
                ) from None

    def receive(self) -> bytes:
        """Return the next bytes, waiting for them; ``b""`` when the other end is gone."""
        with self._receiving:
            try:
                return self._socket.recv(CHUNK)
            except OSError:
                return b""

    def line(self, end: float) -> str | None:
        """Return the next line, None when none has come at ``end``; only before the agent greets.

        ``end`` is as ``time.monotonic()``.
        """
        text = b""
        while not text.endswith(b"\n"):
            if not self.answers(max(0.0, end - time.monotonic())):
                return None
            text += self._socket.recv(CHUNK)
        return text.decode(errors="replace").strip()

    def close(self) -> None:
        """Hang up; may be called twice, from any thread."""
        with suppress(OSError):  # it may be hung up already
            self._socket.shutdown(socket.SHUT_RDWR)
        # shutdown has woken whoever receives or sends: the descriptor is not reused under them
        with self._receiving, self._sending:
            self._socket.close()

    def answers(self, seconds: float) -> bool | None:
        """Wait for the first byte: True when it is there, None not yet, False when hung up."""
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        if not ready.poll(seconds * 1000):
            return None
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
