# SPDX-License-Identifier: MIT
"""How the kernel has planted the probes: kernel/kprobes.c, report_probe()."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kpmagic.agent.arguments import Program
from kpmagic.agent.memory import Memory
from kpmagic.agent.refusal import Refused

PROBES = "/sys/kernel/debug/kprobes/list"
TRACED = ("/sys/kernel/tracing/enabled_functions", "/sys/kernel/debug/tracing/enabled_functions")
FTRACE, JUMP, INT3 = "ftrace", "jump", "int3"
FENTRY = "fentry"
MARKS = (("[FTRACE]", FTRACE), ("[OPTIMIZED]", JUMP))
JUMP_BYTE = b"\xe9"
ENDBR = 4
OPTIMISER_SECONDS = 10.0  # in which the optimiser has surely come to a probe
FIRST_LOOK, LONGEST_LOOK = 0.25, 4.0  # s between two looks


class Planted(NamedTuple):
    """A line of the kernel's list; ``place`` is ``vfs_read+0x0``, ``kind`` k or r."""

    address: int
    kind: str
    place: str
    mechanism: str


def planted() -> list[Planted]:
    """Return the kernel's own list of probes; empty where there is none to read.

    A probe is marked as optimised there when it is to become a jump, which its optimiser does when
    it comes to it: until then the byte in memory is that of an int3, and so it is called one.
    """
    try:
        with open(PROBES, encoding="ascii", errors="replace") as file:
            found = [each for line in file if (each := parse(line)) is not None]
    except OSError:
        return []
    if any(each.mechanism == JUMP for each in found):
        with contextlib.suppress(OSError), Memory() as memory:
            return [_seen(each, memory) for each in found]
    return found


def _seen(probe: Planted, memory: Memory) -> Planted:
    first = memory.code(probe.address, 1) if probe.mechanism == JUMP else b""
    return probe._replace(mechanism=INT3) if first and first != JUMP_BYTE else probe


def parse(line: str) -> Planted | None:
    """Return what a line says: ``ffffffff8b0dfba0  k  vfs_read+0x0    [DISABLED][FTRACE]``."""
    words = line.split()
    if len(words) < 3:
        return None
    marks = " ".join(words[3:])
    mechanism = next((name for mark, name in MARKS if mark in marks), INT3)
    try:
        address = int(words[0], 16)
    except ValueError:
        return None
    return Planted(address, words[1], words[2], mechanism)


def of_programs(programs: Iterable[Program]) -> list[tuple[Program, Planted]]:
    """Return those of ``programs`` that the kernel lists, each with what it says of it.

    Programs that are planted together, or called by a trampoline of their own, are not kprobes: the
    kernel lists them as traced functions.
    """
    programs = list(programs)
    by_place: dict[str, Planted] = {}
    by_address: dict[int, Planted] = {}
    for each in planted():
        by_place.setdefault(each.place, each)
        by_address.setdefault(each.address, each)
    by_ftrace = traced() if any(each.multi or each.fentry for each in programs) else set()
    found = []
    for program in programs:
        address = program.address or 0
        if program.multi or program.fentry:
            if program.symbol in by_ftrace:
                how = FENTRY if program.fentry else FTRACE
                found.append((program, Planted(address, "f", program.place, how)))
            continue
        # behind an endbr64, where one is (arch_adjust_kprobe_addr)
        there = by_place.get(program.place) or (
            by_address.get(address) or by_address.get(address + ENDBR) if address else None
        )
        if there is not None:
            found.append((program, there))
    return found


def traced() -> set[str]:
    """Return the functions that ftrace calls somebody from."""
    for path in TRACED:
        with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
            return {line.partition(" ")[0] for line in file}
    return set()


def mechanism(programs: Iterable[Program]) -> str | None:
    """Return how they are planted: ``ftrace``, or ``ftrace, int3`` of several places.

    None when the kernel does not list them.
    """
    return ", ".join(sorted({each.mechanism for _, each in of_programs(programs)})) or None


class Watch:
    """How the probes of a run are planted, looked at again while the kernel may change that.

    Its optimiser makes jumps of int3s when it has time, and takes them back where another probe
    needs it; what ftrace calls stays so. Make one when they are planted.
    """

    def __init__(self, programs: Iterable[Program]) -> None:
        self._programs = tuple(programs)
        self._pause = FIRST_LOOK
        self._next = time.monotonic() + self._pause
        self.mechanism = mechanism(self._programs)

    def change(self) -> str | None:
        """Return what it has become since the last look, None when it is the same, or not due."""
        now = time.monotonic()
        if now < self._next or self.mechanism in (FTRACE, FENTRY, None):
            return None
        self._pause = min(2 * self._pause, LONGEST_LOOK)
        self._next = now + self._pause
        return self.look()

    def look(self) -> str | None:
        """Look now; return what it has become, None when it is the same."""
        before, now = self.mechanism, mechanism(self._programs)
        self.mechanism = now or before
        return now if now != before else None


def require(watch: Watch, wanted: str, still_here: Callable[[], None]) -> None:
    """Return when the probes are planted as wanted. Raises Refused when they will not be.

    The optimiser works some time after planting; nobody can ask it to hurry.
    """
    end = time.monotonic() + OPTIMISER_SECONDS
    while wanted == JUMP and watch.mechanism not in (JUMP, None) and time.monotonic() < end:
        if FTRACE in str(watch.mechanism):
            break
        time.sleep(0.02)
        still_here()
        watch.look()
    if watch.mechanism in (wanted, None):
        return
    why = f"asked for {wanted}, the kernel has planted it by {watch.mechanism}"
    if wanted == JUMP and INT3 in str(watch.mechanism):
        why = (f"the kernel has made no jump of it in {OPTIMISER_SECONDS:.0f} s: it is an int3 "
               "(its rules: Documentation/trace/kprobes.rst, Jump Optimization)")  # fmt: skip
    raise Refused("attach", why)
