# SPDX-License-Identifier: MIT
"""The border to a machine that is probed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

EXPENDABLE = "sandbox"
"""The name of the one target whose kernel may be ended."""

AGAIN = "run the cell again: the target is started, or connected to, anew"
"""What is done about one that is gone."""

Progress = Callable[[str], None]
"""Called with a short sentence when a long step begins (``booting Linux 6.1.0-56-amd64``)."""


class Channel(Protocol):
    """A two-way stream of bytes to an agent that is running on the target."""

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises TargetLost."""

    def receive(self) -> bytes:
        """Return the next bytes, waiting for them; ``b""`` when the other end is gone."""

    def close(self) -> None:
        """Hang up: the agent takes everything down. May be called twice, from any thread."""


class Target(Protocol):
    """A machine whose kernel is probed.

    It may also have ``cwd``, the directory there in which commands run, ``workdir_note``, why that
    is not the notebook's folder, ``kernel``, the one that it boots (kernels.Kernel), and ``lease``,
    how long a silence there and here is borne (lease.py); without one nobody asks for a sign of
    life. What a recording has instead of a kernel is in replay.py.
    """

    name: str

    @property
    def alive(self) -> bool:
        """Whether it still answers, as far as is known without asking."""

    def open_agent(self) -> Channel:
        """Return the channel to the target's one agent. Raises TargetError."""

    def kernel_btf(self) -> bytes | None:
        """Return the kernel's BTF where it is known without the agent, else None."""

    def last_words(self) -> str:
        """Return what the kernel's console said (oops, panic), or ``""``."""

    def close(self) -> None:
        """End it and everything that belongs to it."""
