# SPDX-License-Identifier: MIT
"""Gate and counters: the object's ``.data.kp``, shared with its programs through mmap."""

from __future__ import annotations

import ctypes
import mmap
import time

from kpmagic.agent import wire

WORD = 8
FIRST = wire.GATE_SIZE // WORD
STEP = wire.CPU_SIZE // WORD
FOR_EVER = (1 << 64) - 1
MEMBARRIER, EVERYWHERE = 324, 1  # membarrier(2) of x86-64, its MEMBARRIER_CMD_GLOBAL
LAST_PROGRAM_SECONDS = 0.002  # none is known to take that long, but nothing holds it to that
ROWS = wire.COUNTERS.index("rows")
SPENT = (10, 11)  # struct kp_cpu of bpf/record.h: runs, busy


def gate_size(cpus: int) -> int:
    """Return the least size of ``.data.kp`` for so many CPUs."""
    return wire.GATE_SIZE + cpus * wire.CPU_SIZE


def wait_for_programs() -> None:
    """Return when none of the programs that saw a gate open is running any more.

    They run inside an RCU read-side section, and MEMBARRIER_CMD_GLOBAL is synchronize_rcu()
    (kernel/sched/membarrier.c). A kernel with nohz_full has it not: there, longer than any takes.
    """
    if ctypes.CDLL(None).syscall(MEMBARRIER, EVERYWHERE, 0, 0):
        time.sleep(LAST_PROGRAM_SECONDS)


class Gate:
    """Nothing is recorded or counted while it is shut."""

    def __init__(self, fd: int, cpus: int, offset: int = 0) -> None:
        size = -(-gate_size(cpus) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(fd, size, offset=offset)
        self._words = memoryview(self._memory).cast("Q")
        self._end = FIRST + cpus * STEP

    def open(self, most: int = 0) -> None:
        """Let all programs record from now on, until there are ``most`` rows (0: for ever)."""
        self._words[0] = most or FOR_EVER  # one store

    def shut(self) -> None:
        """Let no program record any more: one store."""
        self._words[0] = 0

    def record_one_in(self, count: int) -> None:
        """Let programs record one hit in ``count`` from now on: one store."""
        self._words[2] = count

    @property
    def rows(self) -> int:
        """How many rows there are, of all CPUs together."""
        return sum(self._words[FIRST + ROWS : self._end : STEP])

    def counters(self) -> dict[str, int]:
        """Return the wire's COUNTERS, summed over CPUs."""
        return {
            name: sum(self._words[FIRST + place : self._end : STEP])
            for place, name in enumerate(wire.COUNTERS)
        }

    def spent(self) -> tuple[int, int]:
        """Return how often a module's handlers ran, and for how many ns, summed over CPUs."""
        runs, busy = (sum(self._words[FIRST + place : self._end : STEP]) for place in SPENT)
        return runs, busy

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._memory.close()
