# SPDX-License-Identifier: MIT
"""The kernel's log from now on, record by record."""

from __future__ import annotations

import os

KMSG = "/dev/kmsg"
RECORD = 1 << 13
MOST = 2000  # records at a time


class Kmsg:
    """What the kernel logs after this was made; ``lost`` counts gaps: records overwritten."""

    def __init__(self) -> None:
        self.fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self.fd, 0, os.SEEK_END)
        self.lost = 0

    def read(self) -> list[str]:
        """Return new records as /dev/kmsg gives them, at most MOST."""
        records: list[str] = []
        while len(records) < MOST:
            try:
                piece = os.read(self.fd, RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:
                self.lost += 1
                continue
            records.append(piece.decode("utf-8", "replace").rstrip("\n"))
        return records

    def close(self) -> None:
        """Stop listening."""
        os.close(self.fd)
