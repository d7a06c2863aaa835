# SPDX-License-Identifier: MIT
"""Starts processes of the agent's, and reads what they say."""

from __future__ import annotations

import codecs
import os
import select
import signal
from collections.abc import Sequence

from kpmagic.agent import dying, fresh

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
READ_SIZE = 1 << 16
LAST_READS = 32
DEATH_MS = 1000  # one that sleeps in the kernel may not die for hours
DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM)


def spawn(
    arguments: Sequence[str],
    fds: Sequence[int],
    cwd: str | None,
) -> tuple[int, int]:
    """Start the program ``arguments[0]`` in a session of its own; return its process id and a
    descriptor of it.

    ``fds`` become its descriptors 0, 1, 2 …; none of them may be smaller than its new number.
    Raises OSError.
    """
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
    environment = {"PATH": PATH, **os.environ}
    fresh.forget()
    os.chdir(cwd or "/")
    try:
        pid = os.posix_spawn(
            arguments[0],
            list(arguments),
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=DEFAULT_SIGNALS,
        )
    finally:
        os.chdir("/")
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        dying.children.add(pid)
        raise


def ended(pid: int) -> int | None:
    """Return the exit code of a child, 128 + N where signal N ended it; None while it lives."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def killed(pid: int, pidfd: int) -> int | None:
    """Kill a child; return its exit code, None when it does not die soon.

    That is no reason for the agent to wait with all its runs: whoever sleeps in the kernel
    without taking signals dies when that ends.
    """
    os.kill(pid, signal.SIGKILL)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(DEATH_MS)
    code = ended(pid)
    if code is None:
        dying.children.add(pid)
    return code


class Stream:
    """One output pipe, decoded as it comes."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.ended = False
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        os.set_blocking(fd, False)

    def read(self) -> str:
        """Return what is there now, ``""`` for nothing."""
        try:
            data = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return ""
        self.ended = not data
        return self._decode(data, self.ended)

    def rest(self) -> str:
        """Return what is left in the pipe."""
        texts = []
        for _ in range(LAST_READS):
            texts.append(self.read())
            if not texts[-1]:
                break
        return "".join(texts) + self._decode(b"", True)
