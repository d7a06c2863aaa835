# SPDX-License-Identifier: MIT
"""The sandbox's first files: a cpio archive in the kernel's ``newc`` format."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

MAGIC = b"070701"
TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file of the archive: ``path`` without a leading slash, ``mode`` with its type bits.

    ``data`` is a file's content or a symbolic link's target; ``device`` is (major, minor).
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """Return a regular file."""
    return Entry(path.lstrip("/"), stat.S_IFREG | mode, data)


def folder(path: str, mode: int = 0o755) -> Entry:
    """Return a directory."""
    return Entry(path.lstrip("/"), stat.S_IFDIR | mode)


def link(path: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(path.lstrip("/"), stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    """Return a device node."""
    return Entry(path.lstrip("/"), stat.S_IFCHR | 0o600, b"", (major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the cpio archive; the directories that paths need are made, owned by root."""
    written: dict[str, Entry] = {}
    for entry in entries:
        for parent in reversed(PurePosixPath(entry.path).parents):
            if str(parent) != ".":
                written.setdefault(str(parent), folder(str(parent)))
        written[entry.path] = entry
    pieces = [_record(number, each) for number, each in enumerate(written.values(), 1)]
    pieces.append(_record(0, Entry(TRAILER, 0)))
    return b"".join(pieces)


def _record(inode: int, entry: Entry) -> bytes:
    # usr/gen_init_cpio.c: ino mode uid gid nlink mtime size, device, rdevice, name's length, check
    name = entry.path.encode() + b"\0"
    numbers = (inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = MAGIC + b"".join(b"%08x" % number for number in numbers) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
