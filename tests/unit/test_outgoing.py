# SPDX-License-Identifier: MIT
"""Frames on their way to an agent: an interrupt cuts none in two."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from far_end import FarEnd, a_run, started, stopped
from runs import until

from kpmagic.channel.connection import Connection
from kpmagic.errors import TargetLost
from kpmagic.targets.port import CHUNK, Port

BLOB = os.urandom(4 << 20)  # more than a socket holds
SECONDS = 30.0


class Slow(FarEnd):
    """A sandbox whose agent begins to read when it is told to."""

    def __init__(self) -> None:
        super().__init__({"start": started, "stop": stopped})
        ours, self.theirs = socket.socketpair()
        self.port = Port(ours)
        self.send = self.port.send
        self.reads = threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.reads.wait(SECONDS)
        while data := self.theirs.recv(CHUNK):
            FarEnd.send(self, data)

    def close(self) -> None:
        self.port.close()
        super().close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    end = Slow()
    yield end
    end.close()
    end.reads.set()
    end.reader.join(SECONDS)
    end.theirs.close()


def interrupt_when_begun(end: Slow) -> None:
    """Interrupt the main thread when the first part of a frame is out."""
    assert select.select([end.theirs], [], [], SECONDS)[0]
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_in_the_middle_of_a_frame_costs_no_target(slow: Slow) -> None:
    with Connection(slow) as connection:
        user = threading.Thread(target=interrupt_when_begun, args=(slow,))
        user.start()
        with pytest.raises(KeyboardInterrupt):
            connection.request("start", BLOB, run=7)
        user.join()
        slow.reads.set()
        connection.request("stop", run=7, reason="interrupt", timeout=SECONDS)
        assert [each["do"] for each in slow.asked] == ["start", "stop"]
        assert slow.asked[0]["blob"] == BLOB
        assert connection.alive


def test_a_channel_that_fails_is_a_loss_at_once() -> None:
    def gone(*_: object) -> None:
        raise TargetLost("far is gone")

    end = FarEnd({"start": started, "read": gone})
    connection = Connection(end)
    run = a_run(connection).start()
    with pytest.raises(TargetLost):
        connection.read("/x")
    assert run.wait(SECONDS)
    assert run.stopped_by == "target-lost"
    assert end.closed


def test_its_thread_ends_with_the_connection() -> None:
    before = set(threading.enumerate())

    def senders() -> list[str]:
        new = set(threading.enumerate()) - before
        return [each.name for each in new if each.name.startswith("kpmagic sender")]

    with Connection(FarEnd()) as connection:
        connection.wait_for_hello()
        assert senders()
    until(lambda: not senders())
