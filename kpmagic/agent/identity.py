# SPDX-License-Identifier: MIT
"""Which process this is: a process id alone is given again."""

from __future__ import annotations

import os


def identity() -> str:
    """Return ``PID.START`` of this process; what is named so lives in memory and ends with a boot.

    START is in clock ticks since the machine booted.
    """
    return f"{os.getpid()}.{start_time(os.getpid())}"


def start_time(pid: int) -> str:
    """Return when a process started, ``""`` when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # Documentation/filesystems/proc.rst: field 22; the second may hold anything
            return file.read(1024).rpartition(b") ")[2].split()[19].decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(pid: str, start: str) -> bool:
    """Say whether the process is there that was called ``PID.START``."""
    return pid.isdigit() and start.isdigit() and start_time(int(pid)) == start
