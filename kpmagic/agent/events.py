# SPDX-License-Identifier: MIT
"""Events of tracefs stay for ever: those that %kp mechanisms defines are named after its agent."""

from __future__ import annotations

import contextlib
import os

from kpmagic.agent.identity import is_alive

TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
PREFIX = "kpmagic_"  # then PID_START of the agent; the trace instance has the group's name


def sweep() -> list[str]:
    """Undo what was defined for agents that are dead; return what that was, for people."""
    removed: list[str] = []
    for root in TRACEFS:
        for group, name in _ours(root):
            pid, _, start = group.removeprefix(PREFIX).partition("_")
            if is_alive(pid, start):
                continue
            with contextlib.suppress(OSError):
                _remove(root, group, name)
                removed.append(f"event {group}/{name}")
        if removed:
            break  # the same, mounted twice
    return removed


def _ours(root: str) -> list[tuple[str, str]]:
    """Return group and name of events: ``p:kpmagic_77_4711/hit vfs_read``."""
    try:
        with open(f"{root}/kprobe_events", encoding="ascii", errors="replace") as file:
            places = [line.split()[0].partition(":")[2].partition("/") for line in file if line[1:]]
    except OSError:
        return []
    return [(group, name) for group, _, name in places if group.startswith(PREFIX)]


def _remove(root: str, group: str, name: str) -> None:
    instance = f"{root}/instances/{group}"
    if os.path.isdir(instance):
        with open(f"{instance}/events/enable", "w", encoding="ascii") as file:
            file.write("0")
        os.rmdir(instance)
    fd = os.open(f"{root}/kprobe_events", os.O_WRONLY | os.O_APPEND)  # it cannot be sought in
    try:
        os.write(fd, f"-:{group}/{name}\n".encode())
    finally:
        os.close(fd)
