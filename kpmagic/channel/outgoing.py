# SPDX-License-Identifier: MIT
"""Frames to a channel, one after the other, sent by a thread that no interrupt reaches.

A frame once begun is sent whole: an agent that has read a part of one takes all that follows for
the rest of it. Nobody but that thread waits for a channel that takes nothing.
"""

from __future__ import annotations

import queue
import threading

from ..errors import TargetLost
from ..targets.base import Channel


class Outgoing:
    """What goes through ``channel``; where that fails it is closed, so that its reader tells it."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._send, name=f"kpmagic sender {name}", daemon=True).start()

    def put(self, frame: bytes) -> None:
        """Have a frame sent, without waiting for it."""
        self._frames.put(frame)

    def end(self) -> None:
        """Send no more: the channel is closed."""
        self._frames.put(None)

    def _send(self) -> None:
        while (frame := self._frames.get()) is not None:
            try:
                self._channel.send(frame)
            except TargetLost:
                self._channel.close()
                return
