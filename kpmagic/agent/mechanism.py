# SPDX-License-Identifier: MIT
"""How the kernel has planted the probes: kernel/kprobes.c, report_probe()."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PROBES = "/sys/kernel/debug/kprobes/list"
MECHANISMS = (("[FTRACE]", "ftrace"), ("[OPTIMIZED]", "jump"))
INT3 = "int3"
ENDBR = 4


class Planted(NamedTuple):
    """A line of the kernel's list; ``place`` is ``vfs_read+0x0``, ``kind`` k or r."""

    address: int
    kind: str
    place: str
    mechanism: str


def planted() -> list[Planted]:
    """Return the kernel's own list of probes; empty where there is none to read."""
    try:
        with open(PROBES, encoding="ascii", errors="replace") as file:
            return [found for line in file if (found := parse(line)) is not None]
    except OSError:
        return []


def parse(line: str) -> Planted | None:
    """Return what a line says: ``ffffffff8b0dfba0  k  vfs_read+0x0    [DISABLED][FTRACE]``."""
    words = line.split()
    if len(words) < 3:
        return None
    marks = " ".join(words[3:])
    mechanism = next((name for mark, name in MECHANISMS if mark in marks), INT3)
    try:
        address = int(words[0], 16)
    except ValueError:
        return None
    return Planted(address, words[1], words[2], mechanism)


def mechanism(wanted: Iterable[tuple[str | None, int]]) -> str | None:
    """Return how the probes at these places are planted: ``ftrace``, or ``ftrace, int3``.

    Each place is a name with its offset (``vfs_read+0x0``) and an address, 0 where it is hidden.
    None when the kernel does not list them.
    """
    names, addresses = set(), set()
    for name, address in wanted:
        names.add(name)
        # behind an endbr64, where one is (arch_adjust_kprobe_addr)
        addresses |= {address, address + ENDBR} if address else set()
    found = {each.mechanism for each in planted()
             if each.place in names or each.address in addresses}  # fmt: skip
    return ", ".join(sorted(found)) or None
