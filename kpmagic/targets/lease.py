# SPDX-License-Identifier: MIT
"""How long notebook and agent believe in each other without a word."""

from __future__ import annotations

from typing import NamedTuple


class Lease(NamedTuple):
    """Seconds: after ``lost`` of silence the notebook takes the target for gone.

    After ``undo`` of silence the agent takes everything out and exits; None: it never does.
    """

    lost: int
    undo: int | None

    @property
    def undo_ms(self) -> int:
        """``undo`` in ms, 0 for never."""
        return 1000 * (self.undo or 0)


# A notebook may be busy in C code that lets no other thread run, so the agent waits longer.
REMOTE = Lease(lost=10, undo=30)
# The end of its process is seen; one that lives and is silent is in a module's init or exit.
LOCAL = Lease(lost=60, undo=30)
# Its warden watches the notebook; the host may be busy, and a guest that hangs panics by itself.
SANDBOX = Lease(lost=60, undo=None)
