# SPDX-License-Identifier: MIT
"""File descriptors that are closed together, also when the next one cannot be had."""

from __future__ import annotations

import contextlib
import os


class Descriptors(contextlib.ExitStack):
    """Closes what was added to it."""

    def add(self, fd: int) -> int:
        """Return it."""
        self.callback(os.close, fd)
        return fd
