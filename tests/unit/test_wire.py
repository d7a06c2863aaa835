# SPDX-License-Identifier: MIT
"""Two ends of the wire in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmagic.agent import wire

FRAMES = [
    wire.Frame(wire.HELLO, 0, wire.pack_json({"protocol": wire.PROTOCOL})),
    wire.Frame(wire.REQUEST, 3, wire.pack({"id": 1, "do": "start"}, b"\x7fELF")),
    wire.Frame(wire.DATA, 3, bytes(range(256)) * 5),
    wire.Frame(wire.LOG, 3, b"{}"),
    wire.Frame(wire.END, (1 << 32) - 1, wire.pack({"reason": "while"}, b"")),
    wire.Frame(wire.DATA, 0, b""),
]


def read(pieces: list[bytes]) -> list[wire.Frame]:
    reader = wire.Reader()
    return [frame for piece in pieces for frame in reader.feed(piece)]


def test_frames_survive_a_byte_at_a_time() -> None:
    stream = b"".join(wire.encode(*frame) for frame in FRAMES)
    assert read([bytes([byte]) for byte in stream]) == FRAMES


@given(st.lists(st.integers(1, 400), max_size=20))
def test_frames_survive_any_cut(cuts: list[int]) -> None:
    stream = b"".join(wire.encode(*frame) for frame in FRAMES)
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(stream[start : start + cut])
        start += cut
    assert read([*pieces, stream[start:]]) == FRAMES


def test_header_and_payload_may_be_sent_apart() -> None:
    payload = b"x" * 100
    frame = wire.Frame(wire.DATA, 7, payload)
    assert read([wire.header(wire.DATA, 7, len(payload)), payload]) == [frame]


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused_or_are_frames(data: bytes) -> None:
    try:
        frames = read([data])
    except wire.WireError:
        return
    assert all(frame.type in wire.NAMES for frame in frames)
    assert sum(wire.HEADER.size + len(frame.payload) for frame in frames) <= len(data)


@pytest.mark.parametrize(
    "header",
    [
        wire.HEADER.pack(0, 0, 0),
        wire.HEADER.pack(9, 0, 0),
        wire.HEADER.pack(wire.DATA, 0, wire.MAX_PAYLOAD + 1),
    ],
)
def test_no_frame_begins_like_this(header: bytes) -> None:
    with pytest.raises(wire.WireError, match="no frame begins like this"):
        read([header])


def test_message_and_blob_come_back() -> None:
    message = {"id": 1, "text": "ü\0", "list": [1, None, True]}
    assert wire.unpack(wire.pack(message, b"\0\1")) == (message, b"\0\1")
    assert wire.unpack(wire.pack({}, memoryview(b"view"))) == ({}, b"view")


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "too short"),
        (b"\5\0\0\0{}", "longer than its payload"),
        (b"\2\0\0\0[]", "not a JSON object"),
        (b"\3\0\0\0{}}", "not JSON"),
        (b"\2\0\0\0\xff\xff", "not JSON"),
        (wire.LENGTH.pack(200_000) + b"[" * 200_000, "not JSON"),
    ],
)
def test_hostile_payloads_are_refused(payload: bytes, why: str) -> None:
    with pytest.raises(wire.WireError, match=why):
        wire.unpack(payload)
