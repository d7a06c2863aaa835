# SPDX-License-Identifier: MIT
"""Records as the kernel's ring buffer holds them, packed without the code that unpacks them."""

from __future__ import annotations

import struct

from kpmagic.agent import wire
from kpmagic.model import Site, Spec
from kpmagic.record import HEADER_SIZE, CType, Field, Layout

CODES = {1: "b", 2: "h", 4: "i", 8: "q"}


def site(name: str, offset: int = 0) -> Site:
    return Site(Spec(name, name), name, offset, 0, None)


def number(size: int, signed: bool = False) -> CType:
    return CType("int", size, signed)


def layout(row: int, *fields: tuple[str, CType]) -> Layout:
    """Fields one behind the other, each at a multiple of 8."""
    placed = []
    at = HEADER_SIZE
    for name, ctype in fields:
        placed.append(Field(name, ctype, at))
        at += -(-ctype.size // 8) * 8
    return Layout(row, tuple(placed))


def size_of(*layouts: Layout) -> int:
    """The one size of all records of a program."""
    ends = [field.offset + field.type.size for each in layouts for field in each.fields]
    return -(-max([HEADER_SIZE, *ends]) // 8) * 8


def value(ctype: CType, what: object) -> bytes:
    if ctype.kind == "string":
        assert isinstance(what, bytes)
        return what.ljust(ctype.size, b"\0")
    code = CODES[ctype.size // ctype.count]
    code = code if ctype.signed else code.upper()
    items = what if ctype.kind == "array" else [what]
    return struct.pack(f"<{ctype.count}{code}", *items)  # type: ignore[misc]


def record(
    layout: Layout,
    values: dict[str, object],
    *,
    size: int,
    ts: int = 0,
    pid: int = 1,
    tid: int = 1,
    cpu: int = 0,
    site: int = 0,
    comm: bytes = b"sh",
) -> bytes:
    """One record with its ring-buffer header, padded to 8 bytes."""
    head = struct.pack("<QIIIHH16s", ts, pid, tid, cpu, site, layout.row, comm)
    body = bytearray(head.ljust(size, b"\xa5"))  # what the kernel does not write is not zero
    for field in layout.fields:
        packed = value(field.type, values[field.name])
        body[field.offset : field.offset + len(packed)] = packed
    whole = struct.pack("<II", size, 0) + bytes(body)
    stride = -(-(size + wire.RING_HEADER) // 8) * 8
    return whole.ljust(stride, b"\xa5")
