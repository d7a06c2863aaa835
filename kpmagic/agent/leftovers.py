# SPDX-License-Identifier: MIT
"""Calls that have begun and whose return was not seen: still inside, or missed?"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection, Sequence

from kpmagic.agent.arguments import Program
from kpmagic.agent.mechanism import traced

KEY = struct.Struct("<IIQ")  # struct kp_call_key of bpf/kpmagic.bpf.h: tid, site, stack pointer
PROBES = "/sys/kernel/debug/kprobes/list"
ASLEEP = b"SDTtI"
FEW = 64  # functions that others trace besides


def names_in_stacks(programs: Sequence[Program]) -> set[bytes]:
    """Return what the kernel may call the probed functions, while they are probed.

    Of a function with several names it prints one, in stacks as in its lists of what is probed.
    """
    names = {os.fsencode(each.symbol) for each in programs if each.symbol} | _probed_names()
    if any(each.multi for each in programs):
        others = traced()
        if len(others) <= len(names) + FEW:  # more: somebody traces half the kernel
            names |= {os.fsencode(name) for name in others}
    return names


def count_in_flight(keys: bytes, names: Collection[bytes], still_here: Callable[[], None]) -> int:
    """Return how many of the calls are still inside one of ``names``; the rest were missed.

    A running task is taken to be inside: its stack cannot be looked at. ``still_here`` is called
    for each: thousands of stacks take the time of a sign of life.
    """
    inside: dict[int, bool] = {}
    count = 0
    for tid, _, _ in KEY.iter_unpack(keys):
        if tid not in inside:
            inside[tid] = _is_inside(tid, names)
            still_here()
        count += inside[tid]
    return count


def _probed_names() -> set[bytes]:
    try:
        with open(PROBES, "rb") as file:
            return {line.split()[2].partition(b"+")[0] for line in file}
    except OSError:
        return set()


def _is_inside(tid: int, names: Collection[bytes]) -> bool:
    try:
        # of the thread alone: /proc/TID/stat adds up all threads of its process, each time
        with open(f"/proc/{tid}/task/{tid}/stat", "rb", buffering=0) as file:
            state = file.read(512).rpartition(b") ")[2][:1]
        if state not in ASLEEP:
            return state != b"Z" and state != b"X"
        with open(f"/proc/{tid}/stack", "rb", buffering=0) as file:
            stack = file.read(1 << 16)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    # "[<0>] hrtimer_nanosleep+0xc7/0x1b0"
    return any(line.partition(b"] ")[2].partition(b"+")[0] in names for line in stack.splitlines())
