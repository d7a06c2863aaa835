# SPDX-License-Identifier: MIT
"""Frames in a file as they come, so that whatever dies, the file holds all until then.

After MAGIC each frame is as on the wire (agent/wire.py) with a CRC-32 behind it. The first is a
HELLO: the run's description as `past` writes it; a later one takes its place. DATA frames hold
Arrow batches (`batches`), not the ring buffer's records.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..agent import wire
from ..errors import RecordingError
from ..whole import mode_of

MAGIC = b"KPMAGIC-FRAMES\n\0"
CRC = 4


class Journal:
    """A file of frames that is being written, beside ``path`` until `install`. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))  # what a link leads to, not the link
        self.fd, self._temporary = tempfile.mkstemp(
            dir=self.path.parent, prefix=f".{self.path.name[:100]}-"
        )
        # whoever reads it meanwhile has a descriptor of his own
        self.close = weakref.finalize(self, os.close, self.fd)
        self.size = 0
        self._lock = threading.Lock()  # the start's description comes while rows do
        try:
            self._write(MAGIC)
        except BaseException:
            self.discard()
            raise

    def install(self) -> None:
        """Put it in the place of ``path``, while it goes on."""
        os.fchmod(self.fd, mode_of(self.path))
        os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Remove it, as long as it is not in place."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)

    def append(self, type_: int, payload: bytes) -> None:
        """Write one frame, or nothing of it. Raises OSError."""
        frame = wire.encode(type_, 0, payload)
        with self._lock:
            self._write(frame + zlib.crc32(frame).to_bytes(CRC, "little"))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.pwrite(self.fd, left, self.size + len(data) - len(left)) :]
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += len(data)

    @property
    def in_place(self) -> bool:
        """Whether ``path`` is still this file, and not a later one's."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError:
            return False

    def opened(self) -> int:
        """Return a descriptor of one's own to `read` from."""
        return os.dup(self.fd)


def read(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and payload of each whole frame in the first ``size`` bytes.

    One that breaks off ends it. Raises RecordingError for one that is damaged.
    """
    at = len(MAGIC)
    while at + wire.HEADER.size <= size:
        head = os.pread(fd, wire.HEADER.size, at)
        type_, _, length = wire.HEADER.unpack(head)
        end = at + wire.HEADER.size + length
        if type_ not in wire.NAMES or length > wire.MAX_PAYLOAD:
            raise RecordingError(f"it is damaged at byte {at}")
        if end + CRC > size:
            return
        payload = os.pread(fd, length, at + wire.HEADER.size)
        crc = int.from_bytes(os.pread(fd, CRC, end), "little")
        if zlib.crc32(payload, zlib.crc32(head)) != crc:
            raise RecordingError(f"it is damaged at byte {at}")
        yield type_, payload
        at = end + CRC
