# SPDX-License-Identifier: MIT
"""One run of QEMU: started behind its warden, watched, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from kpmagic.agent import wire
from kpmagic.errors import TargetError
from kpmagic.targets import commands, console, qemu
from kpmagic.targets.port import Port
from kpmagic.targets.qmp import Monitor

WARDEN = Path(__file__).with_name("warden.py")
TICK = 0.01


class Descriptors(NamedTuple):
    """What QEMU inherits: initial files (None: a saved machine), port, monitor, memory."""

    initrd: int | None
    port: int
    monitor: int
    ram: int


class Guest:
    """QEMU behind its warden.

    ``arguments`` gets the descriptors QEMU inherits and returns its arguments. A guest has either
    initial files, or ``ram``, the descriptor of a saved machine's memory. Nothing of it is on the
    disk but the console's log and what is saved of it.
    """

    def __init__(
        self,
        log: console.Log,
        arguments: Callable[[Descriptors], list[str]],
        files: bytes | None = None,
        ram: int | None = None,
    ) -> None:
        self.log = log
        self._messages = os.memfd_create("qemu-messages")
        self._ended = threading.Event()
        ours, port = socket.socketpair()
        control, monitor = socket.socketpair()
        self.port = Port(ours)
        self.monitor = Monitor(control)
        self.ram = os.memfd_create("ram") if ram is None else os.dup(ram)
        initrd = None if files is None else _memory(files)
        inherited = Descriptors(initrd, port.fileno(), monitor.fileno(), self.ram)
        reading, self._line = os.pipe()
        try:
            self._start(reading, inherited, arguments(inherited))
        except BaseException:
            os.close(self._line)  # the warden, if it has been started, ends
            os.close(self._messages)
            self.port.close()
            self.started()
            raise
        finally:
            os.close(reading)
            if initrd is not None:
                os.close(initrd)
            port.close()
            monitor.close()

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return not self._ended.is_set()

    def wait_until_prepared(self, seconds: float, silent_after: float | None = None) -> bool:
        """Wait until the agent waits for the port; False when QEMU ended, or was silent too long.

        ``silent_after`` is the time in s in which the console must have said something.
        """
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < seconds:
            said = self.log.end()
            if wire.PREPARED.encode() in said:
                return True
            if silent_after is not None and now > silent_after and not said:
                return False
            if self._ended.wait(TICK):
                return False
        return False

    def greet(self, settings: dict[str, Any], seconds: float) -> bool:
        """Plug the port in and tell the agent what it asks (agent/waking.py), until it greets.

        False when it does not. Raises MonitorError.
        """
        self.monitor.do("device_add", **qemu.port())
        end = time.monotonic() + seconds
        while line := self.port.line(end):
            if line == "clock":
                self.port.send(f"{time.time_ns()}\n".encode())
            elif line == "settings":
                self.port.send(json.dumps(settings).encode() + b"\n")
                return bool(self.port.answers(max(0.0, end - time.monotonic())))
        return False

    def started(self) -> None:
        """Let go of what only its start needs; may be called twice."""
        self.monitor.close()
        if self.ram >= 0:
            os.close(self.ram)
        self.ram = -1

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
        self.started()
        with suppress(OSError):  # the warden may have ended
            os.write(self._line, b"x")  # a copy of the pipe in a forked child would hide its end
        os.close(self._line)
        os.close(self._messages)
        if not self._ended.wait(5):
            raise TargetError(
                "QEMU does not end", hint=f"end process {self._process.pid} and its child"
            )

    def _start(self, line: int, inherited: Descriptors, arguments: list[str]) -> None:
        command = [*commands.bound("qemu-system-x86_64"), *arguments]
        fds = [fd for fd in inherited if fd is not None]
        theirs = ",".join(map(str, fds))
        warden = [sys.executable, "-I", "-S", str(WARDEN), str(os.getpid()), theirs]
        self._process = subprocess.Popen(
            [*warden, *command],
            stdin=line, stdout=self._messages, stderr=self._messages,
            pass_fds=fds, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._reap, name="kpmagic-reaper", daemon=True).start()

    def _reap(self) -> None:
        self._process.wait()
        self._ended.set()


def _memory(data: bytes) -> int:
    """Return the descriptor of a file in memory."""
    fd = os.memfd_create("initramfs")
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd
