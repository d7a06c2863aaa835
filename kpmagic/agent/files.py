# SPDX-License-Identifier: MIT
"""Reads what the notebook needs to know of this kernel."""

from __future__ import annotations

import errno
import os
import stat

from kpmagic.agent import wire
from kpmagic.agent.refusal import Refused

PIECE = 1 << 20
KMSG = "/dev/kmsg"
KMSG_RECORD = 1 << 13


def read_file(path: str) -> bytes:
    """Return a file's content; procfs and sysfs do not tell sizes. Raises OSError, Refused."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if stat.S_ISDIR(mode := os.fstat(fd).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise Refused("os", f"{path}: not a regular file", errno=errno.EINVAL)
        return _read_all(fd, path)
    finally:
        os.close(fd)


def _read_all(fd: int, path: str) -> bytes:
    pieces = []
    room = wire.MAX_PAYLOAD - PIECE
    while True:
        try:
            piece = os.read(fd, PIECE)
        except BlockingIOError:
            break
        except OSError as error:
            error.filename = path
            raise
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        if not piece:
            break
    return b"".join(pieces)


def kernel_log() -> list[str]:
    """Return the kernel's log as raw /dev/kmsg records. Raises OSError.

    Format: Documentation/ABI/testing/dev-kmsg.
    """
    fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    lines = []
    try:
        while True:
            try:
                lines.append(os.read(fd, KMSG_RECORD).decode("utf-8", "replace").rstrip("\n"))
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                continue  # overwritten while we read: the next read goes on behind the gap
    finally:
        os.close(fd)
