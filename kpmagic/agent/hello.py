# SPDX-License-Identifier: MIT
"""What the agent says of its machine before anything else."""

from __future__ import annotations

import os
import time
from typing import Any

from kpmagic.agent import wire

LIBRARY = "libbpf.so.1"


def hello() -> dict[str, Any]:
    """Return the HELLO message."""
    system = os.uname()
    return {
        "protocol": wire.PROTOCOL,
        "release": system.release,
        "machine": system.machine,
        "cpus": possible_cpus(),
        "pid": os.getpid(),
        "boot_id": _line("/proc/sys/kernel/random/boot_id"),
        "libbpf": libbpf_version(system.machine),
        "realtime_minus_monotonic": realtime_minus_monotonic(),
    }


def possible_cpus() -> int:
    """Return how many values a per-CPU map has: highest possible CPU + 1."""
    return int(_line("/sys/devices/system/cpu/possible").replace("-", ",").split(",")[-1]) + 1


def realtime_minus_monotonic() -> int:
    """Return ``CLOCK_REALTIME - CLOCK_MONOTONIC`` in ns, from the tightest of some readings."""
    best = None
    for _ in range(8):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, real - (before + after) // 2)
    assert best is not None
    return best[1]


def libbpf_version(machine: str) -> str | None:
    """Return libbpf's version from its file's name (``libbpf.so.1.1.2``), None when not found.

    Loading it takes too long for a greeting; a library elsewhere is found when it is loaded.
    """
    for folder in (f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/lib64", "/lib"):
        path = f"{folder}/{LIBRARY}"
        if os.path.exists(path):
            return os.path.realpath(path).rpartition(".so.")[2]
    return None


def _line(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()
