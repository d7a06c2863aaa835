# SPDX-License-Identifier: MIT
"""The kernel's code as it lies in memory now, read from /proc/kcore.

That is an ELF core file of the running kernel: fs/proc/kcore.c. Nothing but code and what lies
beside it is read: the kernel's image, its modules, and what it generates itself are all in the
last 2 GB of the address space (Documentation/arch/x86/x86_64/mm.rst).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

CORE = "/proc/kcore"
CODE = 0xFFFF_FFFF_8000_0000  # __START_KERNEL_map
LOADED = 1  # PT_LOAD
HEADER_SIZE = 64
HEADERS_AT, HEADERS_SIZE = 32, 54
SEGMENT = struct.Struct("<II6Q")


class Segment(NamedTuple):
    """Where a piece of memory lies in the file."""

    begin: int
    size: int
    offset: int


class Memory:
    """An open /proc/kcore; a context manager."""

    def __init__(self) -> None:
        """Open it. Raises OSError: there is none, or the kernel is locked down."""
        self._fd = os.open(CORE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._segments = self._read_segments()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _read_segments(self) -> list[Segment]:
        header = os.pread(self._fd, HEADER_SIZE, 0)
        (at,) = struct.unpack_from("<Q", header, HEADERS_AT)
        size, count = struct.unpack_from("<HH", header, HEADERS_SIZE)
        raw = os.pread(self._fd, size * count, at)
        found = [SEGMENT.unpack_from(raw, number * size) for number in range(count)]
        return [Segment(begin, length, offset)
                for kind, _, offset, begin, _, _, length, _ in found
                if kind == LOADED and begin >= CODE]  # fmt: skip

    def code(self, address: int, size: int) -> bytes:
        """Return so many bytes, or fewer, or none where there is no code."""
        for begin, length, offset in self._segments:
            if begin <= address < begin + length:
                most = min(size, begin + length - address)
                try:
                    return os.pread(self._fd, most, offset + address - begin)
                except OSError:
                    return b""
        return b""
