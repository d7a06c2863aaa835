# SPDX-License-Identifier: MIT
"""The BPF ring buffer, read in place, with no step per record.

linux/kernel/bpf/ringbuf.c: a page with the consumer's position, a page with the producer's, then
the data, mapped twice in a row so that a record never wraps. All records of a run have one size,
so the words that tell whether they are committed lie at one distance from each other. Reads are
in the order of the program on x86-64, which the kernel's protocol asks for.
"""

from __future__ import annotations

import mmap
import sys

from kpmagic.agent import wire

PIECE = 1 << 18


class RingError(Exception):
    """The ring holds what no program of ours writes."""


class Ring:
    """The reading side of the ring behind ``fd``: ``size`` bytes, records of ``record`` bytes."""

    def __init__(self, fd: int, size: int, record: int) -> None:
        page = mmap.PAGESIZE
        self._consumer_page = mmap.mmap(fd, page)
        self._producer_pages = mmap.mmap(
            fd, page + 2 * size, prot=mmap.PROT_READ, offset=page, flags=mmap.MAP_SHARED
        )
        pages = memoryview(self._producer_pages)
        self._consumer = memoryview(self._consumer_page).cast("Q")
        self._producer = pages[:8].cast("Q")
        self._data = pages[page:]
        self.size = size
        self._record = record
        self.stride = (record + wire.RING_HEADER + 7) & ~7
        word = record.to_bytes(4, sys.byteorder)
        # the length's lowest byte, and the one that holds the flags: where in a word, and what
        self._told = tuple((at, word[at : at + 1]) for at in (0, 3))

    @property
    def waiting(self) -> int:
        """Bytes between reader and writer, committed or not."""
        return self._producer[0] - self._consumer[0]

    def ready(self, rows: int | None = None) -> memoryview:
        """Return the committed records at the front, at most PIECE bytes and ``rows`` records.

        The bytes stay where they are until ``advance``. Raises RingError.
        """
        most = PIECE // self.stride if rows is None else min(PIECE // self.stride, rows)
        count = min(self.waiting // self.stride, most)
        start = self._consumer[0] & (self.size - 1)
        count = self._committed(start, count)
        if count == 0 and self.waiting >= wire.RING_HEADER:
            self._check_front(start)
        return self._data[start : start + count * self.stride]

    def advance(self, count: int) -> None:
        """Give ``count`` bytes at the front back to the kernel."""
        self._consumer[0] += count

    def _committed(self, start: int, count: int) -> int:
        """Return how many of ``count`` records in a row are committed: a busy one differs.

        Slices of the map itself: with a step they take a tenth of what a memoryview's do.
        """
        first = mmap.PAGESIZE + start
        for at, byte in self._told:
            found = self._producer_pages[first + at : first + count * self.stride : self.stride]
            if found != byte * count:
                count -= len(found.lstrip(byte))
        return count

    def _check_front(self, start: int) -> None:
        """Step over a discarded record; a busy one is waited for."""
        word = int.from_bytes(self._data[start : start + 4], sys.byteorder)
        length = word & ~(wire.RING_BUSY | wire.RING_DISCARD)
        if word & wire.RING_BUSY or word == self._record:
            return
        if not word & wire.RING_DISCARD:
            raise RingError(f"a record of {length} bytes among those of {self._record}")
        self.advance((length + wire.RING_HEADER + 7) & ~7)

    def close(self) -> None:
        """Let go of the memory; what ``ready`` returned must be released before."""
        for view in (self._consumer, self._producer, self._data):
            view.release()
        self._consumer_page.close()
        self._producer_pages.close()
