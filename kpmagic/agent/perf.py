# SPDX-License-Identifier: MIT
"""The border to perf_event_open(2): what every process maps, forks and executes, as it happens.

The kernel writes an event for each, whether the process lives on or not, which no look into
/proc can match. include/uapi/linux/perf_event.h has the layouts; x86-64 has the number 298 and
keeps the order of reads that the protocol asks for.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple, Union

SYSCALL = 298
CLOSE_ON_EXEC = 1 << 3  # PERF_FLAG_FD_CLOEXEC
SOFTWARE, DUMMY = 1, 9  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY
WITH_TIME = 1 << 2  # PERF_SAMPLE_TIME
# bits of struct perf_event_attr: mmap, comm, task, sample_id_all, mmap2, comm_exec, use_clockid
FLAGS = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 18 | 1 << 23 | 1 << 24 | 1 << 25
# type, size, config, sample_period, sample_type, read_format, flags, wakeup, bp_type, bp_addr,
# bp_len, branch_sample_type, sample_regs_user, sample_stack_user, clockid
ATTRIBUTES = struct.Struct("=IIQQQQQIIQQQQIi")
SIZE = 112  # PERF_ATTR_SIZE_VER5
DATA = 1 << 18  # bytes of a CPU's ring
HEAD, TAIL = 1024 // 8, 1032 // 8  # words of struct perf_event_mmap_page
HEADER = struct.Struct("=IHH")
LOST, COMM, FORK, MMAP2 = 2, 3, 7, 10
BY_EXEC = 1 << 13  # PERF_RECORD_MISC_COMM_EXEC
EXECUTABLE = 1 << 2  # PROT_EXEC


class Mapped(NamedTuple):
    """A process has mapped ``size`` bytes of a file, from ``offset`` on, at ``start``."""

    time: int
    pid: int
    start: int
    size: int
    offset: int
    device: tuple[int, int]
    inode: int
    path: str


class Forked(NamedTuple):
    """A process has begun with its parent's memory."""

    time: int
    pid: int
    parent: int


class Executed(NamedTuple):
    """A process has become another program: its memory is empty."""

    time: int
    pid: int


Event = Union[Mapped, Forked, Executed]


class Watch:
    """Events of all processes from now on, ``lost`` of which did not fit."""

    def __init__(self, cpus: int) -> None:
        """Raises OSError."""
        self.lost = 0
        self._rings: list[tuple[int, mmap.mmap]] = []
        try:
            for cpu in range(cpus):
                self._open(cpu)
        except OSError:
            self.close()
            raise

    def _open(self, cpu: int) -> None:
        attributes = ATTRIBUTES.pack(
            SOFTWARE, SIZE, DUMMY, 0, WITH_TIME, 0, FLAGS, 0, 0, 0, 0, 0, 0, 0, time.CLOCK_MONOTONIC
        ).ljust(SIZE, b"\0")
        library = ctypes.CDLL(None, use_errno=True)
        fd = library.syscall(SYSCALL, attributes, -1, cpu, -1, CLOSE_ON_EXEC)
        if fd < 0:
            error = ctypes.get_errno()
            if os.path.exists(f"/sys/devices/system/cpu/cpu{cpu}/topology"):
                raise OSError(error, os.strerror(error))
            return  # a CPU that is not on
        try:
            self._rings.append((fd, mmap.mmap(fd, mmap.PAGESIZE + DATA)))
        except OSError:
            os.close(fd)
            raise

    def events(self) -> list[Event]:
        """Return what has happened since the last call, in the order of time."""
        found = [event for _, ring in self._rings for event in self._read(ring)]
        return sorted(found, key=lambda event: event.time)

    def _read(self, ring: mmap.mmap) -> Iterator[Event]:
        with memoryview(ring) as whole, whole[: mmap.PAGESIZE].cast("Q") as page:
            at, head = page[TAIL], page[HEAD]
            data = whole[mmap.PAGESIZE :]
            while at < head:
                kind, misc, size = HEADER.unpack(_piece(data, at, HEADER.size))
                record = _piece(data, at + HEADER.size, size - HEADER.size)
                if kind == LOST:
                    self.lost += struct.unpack_from("=Q", record, 8)[0]
                else:
                    yield from _event(kind, misc, record)
                at += size
            data.release()
            page[TAIL] = head

    def close(self) -> None:
        """Watch no longer."""
        while self._rings:
            fd, ring = self._rings.pop()
            ring.close()
            os.close(fd)


def _piece(data: memoryview, at: int, size: int) -> bytes:
    """Return ``size`` bytes of a ring; a record may begin at its end and go on at its start."""
    start = at % DATA
    first = bytes(data[start : start + size])
    return first + bytes(data[: size - len(first)])


def _event(kind: int, misc: int, record: bytes) -> Iterator[Event]:
    (when,) = struct.unpack_from("=Q", record, len(record) - 8)
    if kind == FORK:
        pid, parent, _, _ = struct.unpack_from("=4I", record)
        if pid != parent:  # else a thread
            yield Forked(when, pid, parent)
    elif kind == COMM and misc & BY_EXEC:
        yield Executed(when, struct.unpack_from("=I", record)[0])
    elif kind == MMAP2:
        pid, _, start, size, offset, major, minor, inode, _, protection, _ = struct.unpack_from(
            "=IIQQQIIQQII", record
        )
        if protection & EXECUTABLE:
            path = os.fsdecode(record[64:-8].partition(b"\0")[0])
            yield Mapped(when, pid, start, size, offset, (major, minor), inode, path)
