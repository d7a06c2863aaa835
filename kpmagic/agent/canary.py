# SPDX-License-Identifier: MIT
"""A probe of the agent's own on a function that it calls itself: do probes fire on this machine?

It is a perf event that counts, without a program, and in no sum of the user's. A kernel that does
not have it, or does not let the agent have it, leaves the question open.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

from kpmagic.agent.stillness import misses_changes

# a system call that nobody makes, and that does nothing
FUNCTION = "__x64_sys_sched_get_priority_max"
PMU = "/sys/bus/event_source/devices/kprobe/type"
PERF_EVENT_OPEN, CLOEXEC = 298, 8  # perf_event_open(2) of x86-64, its PERF_FLAG_FD_CLOEXEC
# include/uapi/linux/perf_event.h, struct perf_event_attr as far as kprobe_func and probe_offset
SOFTWARE, DUMMY = 1, 9
ATTRIBUTES = struct.Struct("<II5QIIQQ")


class Canary:
    """Planted when made; whoever makes it destroys it."""

    def __init__(self, function: str = FUNCTION) -> None:
        self._fd = -1
        with contextlib.suppress(OSError, ValueError), open(PMU, encoding="ascii") as file:
            self._fd = _counter(int(file.read()), function)

    def sings(self) -> bool | None:
        """Call the function; return whether the probe was hit, None when there is none."""
        if self._fd < 0:
            return None
        before = self._count()
        os.sched_get_priority_max(os.SCHED_OTHER)
        return self._count() > before

    def _count(self) -> int:
        return int.from_bytes(os.read(self._fd, 8), "little")

    def destroy(self) -> None:
        """Take it out; returns when the kernel has waited for RCU."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _counter(type_: int, function: str) -> int:
    """Return a descriptor that counts this thread's calls of ``function``, -1 for none."""
    _keep_switch()
    name = ctypes.create_string_buffer(function.encode())
    return _event(type_, 0, ctypes.addressof(name))


def _keep_switch() -> None:
    """Where changes of code are missed, leave on what a thread's first event switches on.

    The kernel switches ``perf_sched_events``, in its scheduler, off 1 s after the last has gone
    (kernel/events/core.c), when nobody stands still.
    """
    if misses_changes() and not _kept:
        _kept.append(_event(SOFTWARE, DUMMY, 0))


_kept: list[int] = []


def _event(type_: int, config: int, name: int) -> int:
    """Return the descriptor of an event of this thread, -1 for none."""
    attributes = ctypes.create_string_buffer(
        ATTRIBUTES.pack(type_, ATTRIBUTES.size, config, 0, 0, 0, 0, 0, 0, name, 0)
    )
    open_ = ctypes.CDLL(None).syscall
    return int(open_(PERF_EVENT_OPEN, ctypes.byref(attributes), 0, -1, -1, CLOEXEC))
