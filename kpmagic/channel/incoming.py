# SPDX-License-Identifier: MIT
"""Bytes of a channel as frames, one after the other, for the thread that reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..agent import wire
from ..targets.base import Channel


class Incoming:
    """What comes through ``channel``; ``heard`` is how often something has."""

    def __init__(self, channel: Channel) -> None:
        self.heard = 0
        self._channel = channel
        self._reader = wire.Reader()
        self._whole: Iterator[wire.Frame] = iter(())
        self._postponed: deque[wire.Frame] = deque()
        self._over = False

    def next(self) -> wire.Frame | None:
        """Return the next frame, None when no more will come. Raises WireError."""
        return self._postponed.popleft() if self._postponed else self.arriving()

    def arriving(self) -> wire.Frame | None:
        """Return the next frame before those that are postponed, waiting for it."""
        while not self._over:
            for frame in self._whole:
                return frame
            data = self._channel.receive()
            self.heard += 1
            self._over = not data
            self._whole = self._reader.feed(data)
        return None

    def postpone(self, frame: wire.Frame) -> None:
        """Let a frame have its turn later, in the order of arrival."""
        self._postponed.append(frame)
