# SPDX-License-Identifier: MIT
"""One run of QEMU: started behind its warden, watched, ended."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kpmagic.errors import TargetError, TargetLost
from kpmagic.targets import commands

WARDEN = Path(__file__).with_name("warden.py")
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


class Guest:
    """QEMU behind its warden.

    ``arguments`` gets the descriptors of the initial files and of the agent's port, and returns
    QEMU's arguments. Nothing of it is on the disk but the console's log.
    """

    def __init__(self, files: bytes, log: Path, arguments: Callable[[int, int], list[str]]) -> None:
        self.log = log
        self._messages = os.memfd_create("qemu-messages")
        self._ended = threading.Event()
        ours, theirs = socket.socketpair()
        self.port = Port(ours)
        initrd = os.memfd_create("initramfs")
        reading, self._line = os.pipe()
        try:
            with open(initrd, "wb", closefd=False) as image:
                image.write(files)
            self._start(reading, initrd, theirs.fileno(), arguments(initrd, theirs.fileno()))
        except BaseException:
            os.close(self._line)  # the warden, if it has been started, ends
            os.close(self._messages)
            self.port.close()
            raise
        finally:
            os.close(reading)
            os.close(initrd)
            theirs.close()

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return not self._ended.is_set()

    def wait(self, seconds: float, silent_after: float | None = None) -> bool:
        """Wait until the agent speaks; False when QEMU ended, or was silent too long.

        ``silent_after`` is the time in s in which the console must have said something.
        """
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < seconds:
            answer = self.port.answers(0.05 if silent_after else 0.5)
            if answer is not None:
                return answer
            if silent_after is not None and now > silent_after and not self.log.stat().st_size:
                return False
        return False

    def messages(self) -> str:
        """Return what QEMU itself has said."""
        size = os.fstat(self._messages).st_size
        return os.pread(self._messages, min(size, 4096), 0).decode(errors="replace").strip()

    def processes(self) -> list[int]:
        """Return the ids of the warden and of QEMU, as far as they run."""
        warden = self._process.pid
        try:
            children = Path(f"/proc/{warden}/task/{warden}/children").read_text()
        except OSError:
            return []
        return [warden, *map(int, children.split())]

    def close(self) -> None:
        """End QEMU at once and wait until it is gone."""
        self.port.close()
        with suppress(OSError):  # the warden may have ended
            os.write(self._line, b"x")  # a copy of the pipe in a forked child would hide its end
        os.close(self._line)
        os.close(self._messages)
        if not self._ended.wait(5):
            raise TargetError(
                "QEMU does not end", hint=f"end process {self._process.pid} and its child"
            )

    def _start(self, line: int, initrd: int, port: int, arguments: list[str]) -> None:
        command = [*commands.bound("qemu-system-x86_64"), *arguments]
        warden = [sys.executable, "-I", "-S", str(WARDEN), str(os.getpid()), f"{initrd},{port}"]
        self._process = subprocess.Popen(
            [*warden, *command],
            stdin=line, stdout=self._messages, stderr=self._messages,
            pass_fds=[initrd, port], start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._reap, name="kpmagic-reaper", daemon=True).start()

    def _reap(self) -> None:
        self._process.wait()
        self._ended.set()
