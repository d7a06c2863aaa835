# SPDX-License-Identifier: MIT
"""Functions that have changed their names: what people still type → what the kernel has now.

Only a function that is still the same function is here, with the commit and the release that
renamed it. One whose meaning or arguments became another's is not: its name is unknown, and the
hint of the error says what comes near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rename:
    """One step: since ``release``, by ``commit``, the function is called ``name``."""

    name: str
    release: str
    commit: str


# kept by hand; a line needs a commit of torvalds/linux that can be looked up
RENAMES: dict[str, tuple[Rename, ...]] = {
    "do_fork": (
        # fork: pass exit_signal/tls as arguments: _do_fork() beside a do_fork() for old callers
        Rename("_do_fork", "4.2", "3033f14ab78c"),
        # fork: introduce kernel_clone()
        Rename("kernel_clone", "5.10", "cad6967ac108"),
    ),
}


def renamed(asked: str, exists: Callable[[str], bool]) -> tuple[str, str] | None:
    """Return the name a function has now, and the note that says so; None where there is none.

    The note ends with the name that exists:
    ``do_fork → kernel_clone: renamed _do_fork in 4.2, kernel_clone in 5.10``.
    """
    for first, steps in RENAMES.items():
        names = [first, *(step.name for step in steps)]
        if asked not in names:
            continue
        for position in range(len(names) - 1, names.index(asked), -1):
            if exists(names[position]):
                told = steps[names.index(asked) : position]
                history = ", ".join(f"{s.name} in {s.release}" for s in told)
                return names[position], f"{asked} → {names[position]}: renamed {history}"
    return None
