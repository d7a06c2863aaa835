# SPDX-License-Identifier: MIT
"""The ring buffer's reader, on a file laid out as the kernel lays out its pages."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from kpmagic.agent import wire
from kpmagic.agent.ring import PIECE, Ring, RingError

PAGE = mmap.PAGESIZE
SIZE = 1 << 20
RECORD = 64
STRIDE = 72


class Kernel:
    """The writing side: what kernel/bpf/ringbuf.c does to the pages."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.pages = mmap.mmap(self.fd, 2 * PAGE + 2 * SIZE)

    def start_at(self, position: int) -> None:
        struct.pack_into("Q", self.pages, 0, position)
        struct.pack_into("Q", self.pages, PAGE, position)

    @property
    def position(self) -> int:
        return int(struct.unpack_from("Q", self.pages, PAGE)[0])

    def reserve(self, payload: bytes, flags: int = wire.RING_BUSY) -> int:
        at = self.position
        record = struct.pack("II", len(payload) | flags, 0) + payload
        self.put(at, record.ljust(-(-len(record) // 8) * 8, b"\0"))
        struct.pack_into("Q", self.pages, PAGE, at + -(-len(record) // 8) * 8)
        return at

    def put(self, at: int, data: bytes) -> None:
        """Both copies of the data show what is written to one."""
        for place, byte in enumerate(data):
            offset = 2 * PAGE + (at + place) % SIZE
            self.pages[offset] = self.pages[offset + SIZE] = byte

    def commit(self, at: int, length: int = RECORD, flags: int = 0) -> None:
        self.put(at, struct.pack("I", length | flags))

    def submit(self, payload: bytes) -> None:
        self.reserve(payload, 0)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.pages.close()
    os.close(kernel.fd)


@pytest.fixture
def ring(kernel: Kernel) -> Iterator[Ring]:
    ring = Ring(kernel.fd, SIZE, RECORD)
    yield ring
    ring.close()


def payload(number: int) -> bytes:
    return number.to_bytes(8, "little") * (RECORD // 8)


def take(ring: Ring, rows: int | None = None) -> list[int]:
    """Read and give back what is ready; return the numbers of the records."""
    piece = ring.ready(rows)
    data = bytes(piece)
    piece.release()
    ring.advance(len(data))
    places = range(0, len(data), STRIDE)
    assert all(data[at + 8 : at + STRIDE] == payload(data[at + 8]) for at in places)
    return [data[at + 8] for at in places]


def test_an_empty_ring_has_nothing(ring: Ring) -> None:
    assert take(ring) == []


def test_committed_records_come_once_and_in_order(ring: Ring, kernel: Kernel) -> None:
    for number in range(5):
        kernel.submit(payload(number))
    assert take(ring) == [0, 1, 2, 3, 4]
    assert take(ring) == []
    assert ring.waiting == 0


@pytest.mark.parametrize("busy", range(6))
def test_a_busy_record_holds_back_what_is_behind_it(ring: Ring, kernel: Kernel, busy: int) -> None:
    places = [kernel.reserve(payload(number), 0) for number in range(6)]
    kernel.commit(places[busy], flags=wire.RING_BUSY)
    assert take(ring) == list(range(busy))
    kernel.commit(places[busy])
    assert take(ring) == list(range(busy, 6))


def test_several_busy_records(ring: Ring, kernel: Kernel) -> None:
    places = [kernel.reserve(payload(number), 0) for number in range(100)]
    for number in (37, 38, 90):
        kernel.commit(places[number], flags=wire.RING_BUSY)
    assert take(ring) == list(range(37))
    kernel.commit(places[37])
    assert take(ring) == [37]
    assert take(ring) == []


def test_a_discarded_record_is_stepped_over(ring: Ring, kernel: Kernel) -> None:
    kernel.submit(payload(1))
    kernel.reserve(payload(2), wire.RING_DISCARD)
    kernel.reserve(b"short", wire.RING_DISCARD)
    kernel.submit(payload(3))
    assert [take(ring) for _ in range(4)] == [[1], [], [], [3]]


def test_a_record_of_another_size_is_refused(ring: Ring, kernel: Kernel) -> None:
    kernel.submit(b"what is this")
    with pytest.raises(RingError, match="a record of 12 bytes among those of 64"):
        ring.ready()


def test_a_record_over_the_end_comes_whole(ring: Ring, kernel: Kernel) -> None:
    kernel.start_at(7 * SIZE - STRIDE - 16)
    for number in range(4):
        kernel.submit(payload(number))
    assert take(ring) == [0, 1, 2, 3]


def test_no_more_rows_than_asked_for(ring: Ring, kernel: Kernel) -> None:
    for number in range(5):
        kernel.submit(payload(number))
    assert take(ring, 2) == [0, 1]
    assert take(ring, 9) == [2, 3, 4]


def test_a_piece_is_bounded_and_whole(ring: Ring, kernel: Kernel) -> None:
    count = PIECE // STRIDE + 10
    one = struct.pack("II", RECORD, 0) + payload(1)
    kernel.pages[2 * PAGE : 2 * PAGE + count * STRIDE] = one * count
    struct.pack_into("Q", kernel.pages, PAGE, count * STRIDE)
    assert len(take(ring)) == PIECE // STRIDE
    assert len(take(ring)) == 10


def test_memory_is_read_in_place(ring: Ring, kernel: Kernel) -> None:
    kernel.submit(payload(1))
    piece = ring.ready()
    kernel.put(8, payload(2))
    assert bytes(piece[8:]) == payload(2)
    piece.release()
