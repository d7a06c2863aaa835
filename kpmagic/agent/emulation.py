# SPDX-License-Identifier: MIT
"""Whether the CPUs of this machine are emulated, and how many there are."""

from __future__ import annotations

import functools

CPUINFO = "/proc/cpuinfo"


@functools.cache
def emulated_cpus() -> int:
    """Return how many CPUs are QEMU's own, 0 where they are not."""
    with open(CPUINFO, "rb") as file:
        text = file.read()
    return text.count(b"processor\t") if b"QEMU TCG" in text else 0
