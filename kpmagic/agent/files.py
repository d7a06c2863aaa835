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


MOST = wire.MAX_PAYLOAD - PIECE


def read_file(path: str, size: int | None = None) -> bytes:
    """Return a file, or its first ``size`` bytes. Raises OSError, Refused.

    It is read to its end: procfs and sysfs do not tell sizes.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if stat.S_ISDIR(mode := os.fstat(fd).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise Refused("os", f"{path}: not a regular file", errno=errno.EINVAL)
        return _read(fd, path, MOST + 1 if size is None else size)
    finally:
        os.close(fd)


def _read(fd: int, path: str, size: int) -> bytes:
    pieces = []
    while size > 0:
        try:
            piece = os.read(fd, min(PIECE, size))
        except BlockingIOError:
            break
        except OSError as error:
            error.filename = path
            raise
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    content = b"".join(pieces)
    if len(content) > MOST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


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
