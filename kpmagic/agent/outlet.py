# SPDX-License-Identifier: MIT
"""Where a channel's bytes go: a descriptor, or a virtio port by whole pages.

Write to a port, and the kernel takes 32 KiB a call, into memory that it allocates for each, and
interrupts the machine when each has been read. Move the pages of a pipe to it, and it takes all of
them at once, as they are (drivers/char/virtio_console.c: port_fops_write, port_fops_splice_write).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Protocol

F_SETPIPE_SZ = 1031  # include/uapi/linux/fcntl.h; its name in Python since 3.10
# The port keeps up to 128 moves that nobody has read yet: no more memory than this for each
PIPE = 1 << 18


class Outlet(Protocol):
    """Takes bytes, never blocking."""

    held: int  # bytes taken that are still on their way out

    def take(self, pieces: list[memoryview]) -> int:
        """Take bytes from the front and move on what is held; return how many were taken.

        Raises BlockingIOError when nothing could be done, OSError.
        """


class Straight:
    """Writes to a descriptor, whose own business the bytes are from then on."""

    held = 0

    def __init__(self, sink: int) -> None:
        self._sink = sink

    def take(self, pieces: list[memoryview]) -> int:
        """See Outlet."""
        return os.writev(self._sink, pieces)


class Pages:
    """Writes to a pipe, and moves its pages to a virtio port."""

    def __init__(self, port: int) -> None:
        self.held = 0
        self._port = port
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self._in, F_SETPIPE_SZ, PIPE)

    def take(self, pieces: list[memoryview]) -> int:
        """See Outlet."""
        taken = 0
        if pieces:
            with contextlib.suppress(BlockingIOError):  # full of what the port has no room for
                taken = os.writev(self._in, pieces)
        self.held += taken
        try:
            self.held -= os.splice(self._out, self._port, self.held)
        except BlockingIOError:
            if not taken:
                raise
        return taken

    def close(self) -> None:
        """Forget what is held."""
        os.close(self._in)
        os.close(self._out)
