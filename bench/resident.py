# SPDX-License-Identifier: MIT
"""The memory of this process. getrusage(2) counts that of the parent until exec(2) in its peak."""

from __future__ import annotations

import re
from pathlib import Path


def now() -> int:
    """Return the bytes in memory now."""
    return _status("VmRSS")


def most() -> int:
    """Return the most bytes there have been."""
    return _status("VmHWM")


def _status(word: str) -> int:
    found = re.search(rf"^{word}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    assert found is not None, word  # man 5 proc_pid_status
    return int(found[1]) << 10
