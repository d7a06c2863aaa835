# SPDX-License-Identifier: MIT
"""Takes probes out of the kernel beside everything else: each waits, all of them wait together.

Closing one ends in RCU grace periods of three kinds (kernel/trace/trace_event_perf.c, bpf_trace.c,
kprobes.c), some of them outside any lock, so that several threads share them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Protocol

THREADS = 8


class Planted(Protocol):
    """What is in the kernel until it is destroyed."""

    def destroy(self) -> None:
        """Take it out and wait."""


class Departure:
    """Probes on their way out; they are given away, and nobody else may use them any more."""

    def __init__(self, planted: Sequence[Planted]) -> None:
        self._waiting = list(planted)
        self._threads = [
            threading.Thread(target=self._take_out, daemon=True)
            for _ in range(min(THREADS, len(planted)))
        ]
        for thread in self._threads:
            thread.start()

    def _take_out(self) -> None:
        with contextlib.suppress(IndexError):  # list.pop() is atomic
            while True:
                self._waiting.pop().destroy()

    @property
    def over(self) -> bool:
        """Whether all are out."""
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        """Return when all are out."""
        for thread in self._threads:
            thread.join()
