# SPDX-License-Identifier: MIT
"""The stream to the notebook: never blocks, keeps frames whole and in order."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator

from kpmagic.agent import wire
from kpmagic.agent.outlet import Outlet, Pages, Straight

READ_SIZE = 1 << 18
BUFFERS = 8  # written in a call
CONNECT_SECONDS = 60.0

Done = Callable[[], None]


class HangUp(Exception):
    """The notebook's side is gone."""


class Channel:
    """Frames out through a queue, frames in as they become whole.

    Whoever queues a buffer it wants back gives ``done``, called when the buffer has been sent.
    """

    def __init__(self, source: int, sink: int, outlet: Outlet | None = None) -> None:
        self.source = source
        self.sink = sink
        self._outlet = outlet or Straight(sink)
        self._waiting = 0  # bytes in the queue
        self._queue: deque[tuple[memoryview, Done]] = deque()
        self._reader = wire.Reader()
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    @property
    def queued(self) -> int:
        """Bytes that the notebook's side has not taken yet."""
        return self._waiting + self._outlet.held

    def send(self, type_: int, run: int, payload: bytes) -> None:
        """Queue a frame."""
        self._put(wire.encode(type_, run, payload), _nothing)

    def send_view(self, type_: int, run: int, view: memoryview, done: Done) -> None:
        """Queue a frame whose payload stays where it is until ``done()`` is called."""
        self._put(wire.header(type_, run, len(view)), _nothing)
        self._put(view, done)

    def _put(self, data: bytes | memoryview, done: Done) -> None:
        view = memoryview(data)
        self._waiting += len(view)
        self._queue.append((view, done))

    def flush(self) -> bool:
        """Send what can be sent now; return whether that was all. Raises HangUp."""
        while self.queued:
            try:
                sent = self._outlet.take(self._first())
            except BlockingIOError:
                return False
            except OSError as error:
                raise HangUp(str(error)) from None
            self._sent(sent)
        return True

    def _first(self) -> list[memoryview]:
        return [self._queue[i][0] for i in range(min(BUFFERS, len(self._queue)))]

    def _sent(self, count: int) -> None:
        self._waiting -= count
        while self._queue:
            view, done = self._queue[0]
            if count < len(view):
                self._queue[0] = (view[count:], done)
                return
            count -= len(view)
            self._queue.popleft()
            view.release()
            done()

    def drop(self) -> None:
        """Forget what has not been sent, letting go of its memory."""
        while self._queue:
            self._queue.popleft()[0].release()
        self._waiting = 0

    def receive(self) -> Iterator[wire.Frame]:
        """Yield the frames that have come. Raises HangUp, WireError.

        After a WireError what had been received is forgotten: the next bytes may make sense.
        """
        try:
            data = os.read(self.source, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            raise HangUp(str(error)) from None
        if not data:
            raise HangUp("end of input")
        try:
            yield from self._reader.feed(data)
        except wire.WireError:
            self._reader = wire.Reader()
            raise


def _nothing() -> None:
    pass


def open_channel(name: str) -> Channel:
    """Return the channel called ``name``: a character device, or ``-`` for stdin and stdout.

    Raises OSError, HangUp.
    """
    if name == "-":
        source, sink = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)  # a stray print must not end up between frames
        os.close(null)
        return Channel(source, sink)
    port = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    _wait_for_peer(port)
    moves = hasattr(os, "splice")  # since Python 3.10
    return Channel(port, port, Pages(port) if moves else Straight(port))


def _wait_for_peer(port: int) -> None:
    """A virtio port reads as ended until the host has opened its side."""
    poll = select.poll()
    poll.register(port, select.POLLIN | select.POLLOUT)
    end = time.monotonic() + CONNECT_SECONDS
    while any(event & select.POLLHUP for _, event in poll.poll(0)):
        if time.monotonic() > end:
            raise HangUp("nobody at the other end")
        time.sleep(0.01)
