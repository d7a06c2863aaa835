# SPDX-License-Identifier: MIT
"""The members of structs and unions and the names of enums, as BTF has them."""

from __future__ import annotations

from collections.abc import Iterator

from kpmagic.kernel.btf_text import strip
from kpmagic.kernel.btf_types import Kind, Type, Types


def rows(types: Types, found: Type) -> Iterator[tuple[str, int, int, int]]:
    """Yield name, type id, offset in bits and width in bits (0: no bitfield) of each member."""
    for name, type_id, offset in found.extra:
        bits = offset >> 24 if found.flag else 0
        offset = offset & 0xFFFFFF if found.flag else offset
        target = strip(types, type_id)
        if not found.flag and target.kind == Kind.INT:
            # before 4.16 a bitfield was an INT narrower than its size
            encoded = target.extra[0][0]
            if encoded & 0xFF != target.value * 8:
                offset, bits = offset + (encoded >> 16 & 0xFF), encoded & 0xFF
        yield types.string(name), type_id, offset, bits


def enumerators(types: Types, found: Type) -> Iterator[tuple[str, int]]:
    """Yield name and value of each enumerator."""
    wide = found.kind == Kind.ENUM64
    width = 64 if wide else 32
    for words in found.extra:
        value = words[1] | words[2] << 32 if wide else words[1]
        if found.flag and value >> (width - 1):
            value -= 1 << width
        yield types.string(words[0]), value
