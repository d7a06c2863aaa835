# SPDX-License-Identifier: MIT
"""Another tracer as a process of the agent's: spawned, watched, asked to end, killed.

It says that its probes are there with a line into the socket that is its descriptor 3, and ends
when that socket ends, as it does when the agent dies. Its own output is read as it comes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Sequence

from kpmagic.agent.cgroup import Cgroup
from kpmagic.agent.descriptors import Descriptors
from kpmagic.agent.refusal import Refused, refused_os
from kpmagic.agent.spawning import PATH, READ_SIZE, Stream, ended, killed, spawn

FIRST_FILE = 4  # descriptor of the first of ``files``
HIGH = 32  # descriptors from here on are in nobody's way


def find(program: str) -> str:
    """Return where a program is. Raises Refused."""
    path = shutil.which(program, path=PATH)
    if path is None:
        raise Refused("missing", program)
    return path


class Tool:
    """One process with its descendants, in a cgroup of their own.

    ``script`` is its standard input, ``files`` are its descriptors from FIRST_FILE on, ``fds`` of
    ours those behind them.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        script: bytes,
        files: Sequence[bytes] = (),
        cwd: str | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        """Spawn it. Raises Refused."""
        self.exit_code: int | None = None
        self._cgroup = Cgroup(name)
        self._ours = Descriptors()
        self._output_ended = False
        self._pidfd = -1
        try:
            self._spawn(arguments, [script, *files], cwd, fds)
        except OSError as error:
            self.close()
            raise refused_os(error, "spawn") from None

    def _spawn(
        self,
        arguments: Sequence[str],
        files: Sequence[bytes],
        cwd: str | None,
        fds: Sequence[int],
    ) -> None:
        with Descriptors() as theirs:
            self.control, other = socket.socketpair()
            self._ours.callback(self.control.close)
            control = theirs.add(other.detach())
            self.control.setblocking(False)
            self.output, output = self._pipe(theirs)
            errors, their_errors = self._pipe(theirs)
            self.errors = Stream("stderr", errors)
            os.set_blocking(self.output, False)
            script, *more = [_memory(each, theirs) for each in files]
            low = [script, output, their_errors, control, *more, *fds]
            high = [theirs.add(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)) for fd in low]
            self._pid, self._pidfd = spawn(arguments, high, cwd)
        self._cgroup.add(self._pid)

    def _pipe(self, theirs: Descriptors) -> tuple[int, int]:
        source, sink = os.pipe()
        return self._ours.add(source), theirs.add(sink)

    def waits_for(self, room: bool) -> list[int]:
        """Return the descriptors to poll for reading; no output unless there is ``room``."""
        output = [self.output] * (not self._output_ended)
        errors = [self.errors.fd] * (not self.errors.ended)
        return [self._pidfd] * (self._pidfd >= 0) + (output + errors) * room

    def read(self) -> bytes:
        """Return output that is there, ``b""`` for none."""
        try:
            data = os.read(self.output, READ_SIZE)
        except BlockingIOError:
            return b""
        self._output_ended = not data
        return data

    def heard(self) -> bytes:
        """Return what it said through the socket, ``b""`` for nothing."""
        try:
            return self.control.recv(READ_SIZE)
        except (BlockingIOError, ConnectionResetError):
            return b""

    def look(self) -> None:
        """Notice its end: ``exit_code`` is then 128 + N where signal N ended it."""
        if self._pidfd < 0:
            return
        self.exit_code = ended(self._pid)
        if self.exit_code is not None:
            os.close(self._pidfd)
            self._pidfd = -1

    def finish(self) -> None:
        """Ask it to tell what it has and to end."""
        self.control.close()

    def kill(self) -> None:
        """Kill it and its descendants."""
        self._cgroup.kill()

    def close(self) -> None:
        """Kill and remove what is left of it."""
        if self._pidfd >= 0:
            self.kill()
            killed(self._pid, self._pidfd)  # in case it is not in the cgroup yet
            os.close(self._pidfd)
            self._pidfd = -1
        self._ours.close()
        self._cgroup.end()


def _memory(data: bytes, theirs: Descriptors) -> int:
    """Return the descriptor of a file in memory, at its beginning."""
    fd = theirs.add(os.memfd_create("kpmagic", os.MFD_CLOEXEC))
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
