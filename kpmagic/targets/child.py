# SPDX-License-Identifier: MIT
"""An agent at the other end of a program's input and output: sudo's, ssh's, or Python's own."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kpmagic.errors import TargetLost
from kpmagic.targets import rights
from kpmagic.targets.archive import agent_archive
from kpmagic.targets.base import AGAIN

HERE = Path(__file__).parent
# What the target's Python is started with: the program itself comes as a line of its input.
PYTHON = (rights.PYTHON, "-I", "-S", "-c", rights.NEXT)
CHUNK = 1 << 20
STUCK_SECONDS = 12.0
END_SECONDS = 2.0
UNDO_SECONDS = 30.0
MESSAGES = 4096


def luggage() -> bytes:
    """Return what is sent before anything else: two programs, a line each, and the agent."""
    programs = [(HERE / name).read_text() for name in ("rights.py", "landing.py")]
    archive = zlib.compress(agent_archive())
    lines = [f"exec({text!r})\n" for text in programs]
    return "".join([*lines, f"{len(archive)}\n"]).encode() + archive


class Child:
    """A program and the channel to the agent behind it; ``name`` is the target's."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        """Start it and send the agent; whether it arrives is seen by ``answers``."""
        self.name = name
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._ended = threading.Event()
        self._messages = os.memfd_create("kpmagic-messages")
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(STUCK_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._messages,
                env=os.environ | {"LC_ALL": "C"}, start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._reap, name="kpmagic-reaper", daemon=True).start()
        with suppress(TargetLost):  # what it said meanwhile tells more
            self.send(luggage())
        self._socket.settimeout(None)

    @property
    def alive(self) -> bool:
        """Whether the program runs."""
        return not self._ended.is_set()

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises TargetLost."""
        with self._sending:
            try:
                self._socket.sendall(data)
            except OSError:
                raise TargetLost(f"{self.name} is gone", hint=AGAIN) from None

    def receive(self) -> bytes:
        """Return the next bytes, waiting for them; ``b""`` when the other end is gone."""
        with self._receiving:
            try:
                return self._socket.recv(CHUNK)
            except OSError:
                return b""

    def answers(self, seconds: float) -> bool:
        """Wait for the first byte: False when the program has ended, or the time is over."""
        end = time.monotonic() + seconds
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        while time.monotonic() < end:
            if ready.poll(200):  # short, so that an interrupt is seen
                with suppress(OSError):
                    return bool(self._socket.recv(1, socket.MSG_PEEK))
                return False
        return False

    def messages(self) -> str:
        """Return the end of what the program itself has said."""
        try:
            size = os.fstat(self._messages).st_size
            data = os.pread(self._messages, MESSAGES, max(0, size - MESSAGES))
        except OSError:
            return ""
        return data.decode(errors="replace").strip()

    def wait(self, seconds: float) -> int | None:
        """Return the program's exit status, None when it still runs after so long."""
        return self._process.returncode if self._ended.wait(seconds) else None

    def close(self) -> None:
        """Hang up, and see the program end; one with much to undo goes on without being waited for.

        May be called twice, from any thread.
        """
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._receiving, self._sending:  # nobody uses the descriptor any more
            first = self._socket.fileno() >= 0
            self._socket.close()
        if first and not self._ended.wait(END_SECONDS):
            with suppress(RuntimeError):  # when this process ends: nothing is left half undone
                threading.Thread(target=self._end, name="kpmagic-ender", daemon=True).start()

    def _end(self) -> None:
        """End a program that does not end by itself: ssh, or the agent where we are root."""
        for end in (self._process.terminate, self._process.kill):
            if self._ended.wait(UNDO_SECONDS):
                return
            with suppress(OSError):  # sudo's is root's
                end()

    def _reap(self) -> None:
        self._process.wait()
        self._ended.set()

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self._messages)
