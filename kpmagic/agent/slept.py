# SPDX-License-Identifier: MIT
"""A handler that has slept: the kernel says so and goes on, with probes and locks in disorder.

It may then stop at any time or never. A machine that may be thrown away is ended at once, so that
what it said is the end of a run, and the next cell has a kernel that can be trusted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

SAID = "BUG: scheduling while atomic"  # kernel/sched/core.c, where the kernel counts preemption
STACK_SECONDS = 0.5  # in which the stack behind that line is printed
TRIGGER = "/proc/sysrq-trigger"
REMARK = "a handler has slept, and this kernel is no longer to be trusted: "
NEXT = {True: "it is ended", False: "take the module out and boot anew"}


class Slept:
    """What is done about it; ``expendable``: the machine may be ended."""

    def __init__(self, expendable: bool) -> None:
        self._expendable = expendable
        self._since = 0.0

    def look(self, records: Iterable[str]) -> str:
        """Look at new records of the kernel's log; return what there is to remark, once."""
        if not self._since and any(SAID in record for record in records):
            self._since = time.monotonic()
            return REMARK + NEXT[self._expendable]
        return ""

    def act(self) -> None:
        """End the machine when it is time to."""
        if self._expendable and self._since and time.monotonic() - self._since > STACK_SECONDS:
            with open(TRIGGER, "w", encoding="ascii") as file:
                file.write("c")
