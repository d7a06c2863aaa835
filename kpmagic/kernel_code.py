# SPDX-License-Identifier: MIT
"""The kernel's code as it is now, read by the agent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .channel.connection import Connection

MOST, LARGEST = 64, 4096  # pieces of one request, bytes of a piece: agent/code.py


def code(connection: Connection, address: int, size: int) -> bytes:
    """Return so many bytes, or fewer where there is no more code. Raises TargetError."""
    return codes(connection, [(address, size)])[0]


def codes(connection: Connection, extents: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return the code at addresses, so many bytes each, or fewer. Raises TargetError."""
    pieces = [
        (at, min(LARGEST, address + size - at))
        for address, size in extents
        for at in range(address, address + size, LARGEST)
    ]
    read = iter(_pieces(connection, pieces))
    return [b"".join(itertools.islice(read, -(-size // LARGEST))) for _, size in extents]


def _pieces(connection: Connection, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
    found = []
    for first in range(0, len(pieces), MOST):
        at = [{"address": address, "size": size}
              for address, size in pieces[first : first + MOST]]  # fmt: skip
        answer, blob = connection.request("code", at=at)
        for size in answer["sizes"]:
            found.append(blob[:size])
            blob = blob[size:]
    return found
