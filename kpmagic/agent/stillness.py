# SPDX-License-Identifier: MIT
"""Commands stand still while the kernel's code is changed, where emulated CPUs would miss it.

A kernel that runs changes an instruction by way of a breakpoint (text_poke_bp() in
arch/x86/kernel/alternative.c). QEMU before 8.1 translates code without holding its page: a CPU
that runs into the breakpoint as another CPU takes it away keeps a translation of it, finds nobody
who knows it any more, and the kernel dies. With two commands in a function, every second probe
that left it did that. CPUs on which nothing runs do not come by; the agent's own does the change.
"""

from __future__ import annotations

import functools
import glob
import time
from typing import Self

from kpmagic.agent.cgroup import Group, prefix

CPUINFO = "/proc/cpuinfo"
PATIENCE_SECONDS = 0.1  # for one that waits for a disk, and so does not come by either
TICK_SECONDS = 0.0005


class Change:
    """One change, from now until it is over; the last one that is lets the commands go on.

    ``spared`` is the group of a command that is held back: it sleeps, and must not be woken.
    """

    def __init__(self, spared: Group | None = None) -> None:
        _going_on.add(self)
        if misses_changes():
            _freeze("" if spared is None else spared.path)

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


@functools.cache
def misses_changes() -> bool:
    """Say whether this kernel has several CPUs, and they are QEMU's own."""
    with open(CPUINFO, "rb") as file:
        text = file.read()
    return b"QEMU TCG" in text and text.count(b"processor\t") > 1


def _freeze(spared: str) -> None:
    """Freeze the commands of this agent: their groups are called after their numbers."""
    beginning = prefix()
    paths = glob.glob(f"{glob.escape(beginning)}.*")
    commands = [path for path in paths if path[len(beginning) + 1 :].isdigit()]
    new = [Group(path) for path in commands if path != spared and path not in _frozen]
    for group in new:
        _frozen[group.path] = group
        group.freeze(True)
    end = time.monotonic() + PATIENCE_SECONDS
    while not all(group.frozen for group in new) and time.monotonic() < end:
        time.sleep(TICK_SECONDS)
