# SPDX-License-Identifier: MIT
"""What tells one file of code from another of the same name, here and on a target."""

from __future__ import annotations

import os
import struct

ELF = struct.Struct("<16sHHIQQQIHHH")  # Elf64_Ehdr as far as e_phnum
SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
NOTE = struct.Struct("<III")
PT_NOTE, NT_GNU_BUILD_ID = 4, 3
MOST_SEGMENTS, MOST_NOTES = 64, 1 << 12


def identity_at(path: str) -> str:
    """Return the build id of a file in hexadecimal, or ``SIZE-MTIME_NS``. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        return build_id(fd) or _stamp(fd)
    finally:
        os.close(fd)


def _stamp(fd: int) -> str:
    found = os.fstat(fd)
    return f"{found.st_size}-{found.st_mtime_ns}"


def build_id(fd: int) -> str:
    """Return the GNU build id of a 64-bit ELF file in hexadecimal, ``""`` for none."""
    head = os.pread(fd, ELF.size, 0)
    if len(head) < ELF.size or head[:6] != b"\x7fELF\x02\x01":
        return ""
    _, _, _, _, _, first, _, _, _, size, count = ELF.unpack(head)
    for number in range(min(count, MOST_SEGMENTS)):
        segment = _read(fd, SEGMENT.size, first + number * size)
        if len(segment) < SEGMENT.size:
            return ""
        kind, _, offset, _, _, length, _, _ = SEGMENT.unpack(segment)
        if kind == PT_NOTE:
            found = _in_notes(_read(fd, min(length, MOST_NOTES), offset))
            if found:
                return found
    return ""


def _read(fd: int, size: int, offset: int) -> bytes:
    """Return bytes of a file that may say anything of itself."""
    return os.pread(fd, size, offset) if offset < 1 << 62 else b""


def _in_notes(notes: bytes) -> str:
    at = 0
    while at + NOTE.size <= len(notes):
        name, size, kind = NOTE.unpack_from(notes, at)
        start = at + NOTE.size + (name + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and notes[at + NOTE.size : at + NOTE.size + 4] == b"GNU\0":
            return notes[start : start + size].hex()
        at = start + (size + 3 & ~3)
    return ""
