# SPDX-License-Identifier: MIT
"""The times after which a run ends by itself, from the moment on that its command is let go."""

from __future__ import annotations

import time
from typing import NamedTuple

MS = 1_000_000


class Limits(NamedTuple):
    """What was asked for, in ns; None: it has no such end."""

    for_ns: int | None = None
    max_ns: int | None = None


class Ends:
    """The ends that are to come: none before `begin`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ends: list[tuple[int, str]] = []

    def begin(self) -> None:
        """Let the time begin."""
        now = time.monotonic_ns()
        limits = ((self._limits.for_ns, "for"), (self._limits.max_ns, "max-time"))
        self._ends = [(now + limit, reason) for limit, reason in limits if limit is not None]

    def reason(self) -> str:
        """Return the end that has come, or ``""``."""
        now = time.monotonic_ns()
        return next((reason for end, reason in self._ends if now >= end), "")

    def patience(self, most: int) -> int:
        """Return the ms until the next one, at most ``most``."""
        now = time.monotonic_ns()
        return max(0, min([most, *(-(-(end - now) // MS) for end, _ in self._ends)]))
