# SPDX-License-Identifier: MIT
"""A channel through pages: whole and in order, however slowly it is read."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Iterator

import pytest

from kpmagic.agent import wire
from kpmagic.agent.channel import Channel, HangUp
from kpmagic.agent.outlet import PIPE, Pages

FRAMES = [bytes([65 + n % 26]) * (n * 7919 % 300_001) for n in range(40)]


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel whose port is a socket, and the notebook's side of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.closing(Pages(ours.fileno())) as pages:
        yield Channel(ours.fileno(), ours.fileno(), pages), theirs


def test_what_is_sent_comes_whole_and_in_order(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    given_back: list[int] = []
    for number, payload in enumerate(FRAMES):
        done = functools.partial(given_back.append, number)
        channel.send_view(wire.DATA, number, memoryview(payload), done)
    reader = wire.Reader()
    came: list[wire.Frame] = []
    assert not channel.flush()
    assert channel.queued > sum(map(len, FRAMES)) - 2 * PIPE  # a reader that does not read
    while channel.queued:
        channel.flush()
        came += reader.feed(theirs.recv(1 << 14))
    theirs.setblocking(False)
    while len(came) < len(FRAMES):
        came += reader.feed(theirs.recv(1 << 18))
    assert [(frame.run, frame.payload) for frame in came] == list(enumerate(FRAMES))
    assert given_back == list(range(len(FRAMES)))


def test_a_small_frame_does_not_wait(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    channel.send(wire.LOG, 7, b"{}")
    assert channel.flush()
    assert channel.queued == 0
    (frame,) = wire.Reader().feed(theirs.recv(1 << 14))
    assert (frame.type, frame.run, frame.payload) == (wire.LOG, 7, b"{}")


def test_the_other_side_gone_is_a_hang_up(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.close()
    channel.send(wire.LOG, 7, os.urandom(100))
    with pytest.raises(HangUp):
        channel.flush()
