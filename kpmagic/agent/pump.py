# SPDX-License-Identifier: MIT
"""From the ring to DATA frames: one piece at a time, straight from the ring's own memory."""

from __future__ import annotations

from collections.abc import Callable

from kpmagic.agent import wire
from kpmagic.agent.channel import Channel
from kpmagic.agent.ring import PIECE, Ring

PIECES = 8  # of the ring before the channel is looked at again
LEFT = PIECE // 4  # bytes that are left for the next time: what few rows cost, many do
MUCH = 4  # a ring is filling fast when a fourth of it has been written since it was looked at


class Pump:
    """Sends the rows of a run until there are ``most`` (0: no limit).

    ``rows`` are those sent; ``cut`` those that CPUs, racing for the last one, wrote beyond it.
    ``first`` is called before each piece. ``sending``: a piece is queued, and the ring holds it.
    ``fast``: the ring is filling so fast that it should be looked at again soon.
    """

    def __init__(
        self, channel: Channel, number: int, ring: Ring, most: int, first: Callable[[], None]
    ) -> None:
        self.rows = self.cut = 0
        self.sending = self.fast = False
        self._channel, self._number = channel, number
        self._ring, self._most, self._first = ring, most, first

    def run(self) -> bool:
        """Send what the ring holds until the channel is full; say whether there was any."""
        self._first()
        found = self.sending
        self.fast = self._ring.waiting > self._ring.size // MUCH
        for number in range(PIECES):
            few = number and self._ring.waiting < LEFT
            if few or self.sending or not self._send_piece():
                break
            found = True
            self._channel.flush()
        return found

    def _send_piece(self) -> bool:
        """Queue one piece."""
        most, ring = self._most, self._ring
        piece = ring.ready(most - self.rows if most and self.rows < most else None)
        size = len(piece)
        if not size:
            piece.release()
            return False
        if most and self.rows >= most:
            piece.release()
            ring.advance(size)
            self.cut += size // ring.stride
            return True
        self.rows += size // ring.stride
        self.sending = True
        self._first()
        self._channel.send_view(wire.DATA, self._number, piece, lambda: self._sent(size))
        return True

    def _sent(self, size: int) -> None:
        self._ring.advance(size)
        self.sending = False
