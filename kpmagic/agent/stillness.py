# SPDX-License-Identifier: MIT
"""Commands stand still while the kernel's code is changed, where emulated CPUs would miss it.

A kernel that runs changes an instruction by way of a breakpoint (text_poke_bp() in
arch/x86/kernel/alternative.c). QEMU before 8.1 translates code without holding its page: a CPU
that runs into the breakpoint as another CPU takes it away keeps a translation of it, finds nobody
who knows it any more, and the kernel dies. With two commands in a function, every second probe
that left it did that. CPUs on which nothing runs do not come by; the agent's own does the change.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import threading
import time
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kpmagic.agent.cgroup import Group, prefix
from kpmagic.agent.refusal import Refused
from kpmagic.agent.workload import Workload

if TYPE_CHECKING:
    from typing import Self  # since Python 3.11

CPUINFO = "/proc/cpuinfo"
PATIENCE_SECONDS = 0.1  # for one that waits for a disk, and so does not come by either
TICK_SECONDS = 0.0005
HOLD_SECONDS = 0.05  # at most, of a change that takes 3 ms
WORK = bytes(1 << 14)


class Change:
    """One change, from now until it is over; the last one that is lets the commands go on.

    ``spared`` is the command of the run, if any: held back, it sleeps and must not be woken.
    """

    def __init__(self, spared: Workload | None = None) -> None:
        _going_on.add(self)
        if misses_changes() and not _is_traced():
            _freeze("" if spared is None else spared.cgroup.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over()

    def over(self) -> None:
        """It is done. May be called again."""
        _going_on.discard(self)
        if not _going_on:
            while _frozen:
                _frozen.popitem()[1].freeze(False)


_going_on: set[Change] = set()
_frozen: dict[str, Group] = {}


@contextlib.contextmanager
def keeping_others() -> Iterator[None]:
    """Have threads of this process keep all other CPUs meanwhile, 50 ms at most.

    Who ran there, the kernel's own threads too, is preempted. A command that is frozen begins its
    system call anew, which a run that counts those would see; one that is preempted does not.
    """
    if not misses_changes():
        yield
        return
    before = os.sched_getaffinity(0)
    mine, *others = sorted(before)
    hold = _Hold()
    threads = [threading.Thread(target=hold.keep, args=(cpu,)) for cpu in others]
    try:
        _come_first(mine)  # before they start: they inherit it, and need not wait for their turn
        for thread in threads:
            thread.start()
        while len(hold.kept) < len(others) and time.monotonic() < hold.end:
            time.sleep(TICK_SECONDS)
        yield
    finally:
        hold.end = 0.0
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)
        for thread in threads:
            thread.join()


class _Hold:
    """Keeps CPUs until ``end``; ``kept`` are those it has."""

    def __init__(self) -> None:
        self.end = time.monotonic() + HOLD_SECONDS
        self.kept: list[int] = []

    def keep(self, cpu: int) -> None:
        _come_first(cpu)
        self.kept.append(cpu)
        while time.monotonic() < self.end:
            zlib.crc32(WORK)  # without the interpreter's lock, and without the kernel


def _come_first(cpu: int) -> None:
    """Have this thread run on ``cpu``, before all who are ordinary, where that is permitted."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@functools.cache
def misses_changes() -> bool:
    """Say whether this kernel has several CPUs, and they are QEMU's own."""
    with open(CPUINFO, "rb") as file:
        text = file.read()
    return b"QEMU TCG" in text and text.count(b"processor\t") > 1


def _is_traced() -> bool:
    """Say whether somebody traces a thread of this process, who, frozen, would leave it stopped."""
    for path in glob.glob("/proc/self/task/*/status"):
        with contextlib.suppress(OSError), open(path, "rb") as file:  # threads end
            if b"\nTracerPid:\t0\n" not in file.read():
                return True
    return False


def _freeze(spared: str) -> None:
    """Freeze the commands of this agent: their groups are called after their numbers."""
    try:
        beginning = prefix()
    except (Refused, OSError):
        return  # without cgroups there are no commands; without descriptors nobody is to fail here
    paths = glob.glob(f"{glob.escape(beginning)}.*")
    commands = [path for path in paths if path[len(beginning) + 1 :].isdigit()]
    new = [Group(path) for path in commands if path != spared and path not in _frozen]
    for group in new:
        _frozen[group.path] = group
        group.freeze(True)
    end = time.monotonic() + PATIENCE_SECONDS
    while not all(group.frozen for group in new) and time.monotonic() < end:
        time.sleep(TICK_SECONDS)
