# SPDX-License-Identifier: MIT
"""What was killed and does not die at once: looked after until it has, beside everything else."""

from __future__ import annotations

import os

children: set[int] = set()  # processes of the agent's, not waited for yet
groups: set[str] = set()  # folders of their cgroups


def look() -> None:
    """Let go of what has died meanwhile."""
    children.difference_update([pid for pid in children if _is_over(pid)])
    groups.difference_update([path for path in groups if _is_removed(path)])


def _is_over(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _is_removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
