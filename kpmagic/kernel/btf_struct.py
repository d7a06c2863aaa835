# SPDX-License-Identifier: MIT
"""A struct, union, enum or typedef as C text, with offset and size of every member in bytes."""

from __future__ import annotations

from collections.abc import Iterator

from kpmagic.kernel.btf_text import declare, has_name, size_of, strip, type_name, unqualified
from kpmagic.kernel.btf_types import Kind, Type, Types, bad

_LAYOUTS = (Kind.STRUCT, Kind.UNION)
_COMMENT_COLUMN = 56
_DEEPEST = 32
_MOST_LINES = 20_000


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


def write(types: Types, type_id: int, depth: int = 1) -> str:
    """Return the C text of a type. Raises TargetError for a type that contains itself."""
    found = unqualified(types, type_id)
    if found.kind == Kind.TYPEDEF:
        inner = unqualified(types, found.value)
        if inner.kind not in (*_LAYOUTS, Kind.ENUM, Kind.ENUM64) or inner.name:
            return f"typedef {declare(types, found.value, found.name)};"
        writer = _Writer(types, depth)
        writer.body(inner, f" {found.name}", 0, 0, prefix="typedef ")
        return writer.text()
    if found.kind in (*_LAYOUTS, Kind.ENUM, Kind.ENUM64):
        writer = _Writer(types, depth)
        writer.body(found, "", 0, 0)
        return writer.text()
    return f"{type_name(types, found)};"


class _Writer:
    """Collects lines, a tab of indent for each level."""

    def __init__(self, types: Types, depth: int) -> None:
        self._types = types
        self._depth = depth
        self._lines: list[str] = []

    def text(self) -> str:
        """Return what was written."""
        return "\n".join(self._lines)

    def body(self, found: Type, tail: str, indent: int, start: int, prefix: str = "") -> None:
        """Write ``struct NAME { … } TAIL;`` with offsets counted from ``start`` bits."""
        if indent > _DEEPEST:
            raise bad(f"type {found.id} contains itself")
        is_enum = found.kind in (Kind.ENUM, Kind.ENUM64)
        word = "enum" if is_enum else found.kind.name.lower()
        name = f" {found.name}" if has_name(found) else ""
        self._line(indent, f"{prefix}{word}{name} {{")
        if is_enum:
            for label, value in enumerators(self._types, found):
                self._line(indent + 1, f"{label} = {value},")
        else:
            for row in rows(self._types, found):
                self._member(row, indent + 1, start)
        if indent == 0:
            self._line(indent, f"}}{tail};", f"size: {found.value}")
        else:
            self._line(indent, f"}}{tail};", f"{start // 8:5} {found.value:5}")

    def _member(self, row: tuple[str, int, int, int], indent: int, start: int) -> None:
        name, type_id, offset, bits = row
        target = unqualified(self._types, type_id)
        behind = strip(self._types, type_id)
        shown_inside = not has_name(target) or indent < self._depth
        if behind.kind in _LAYOUTS and shown_inside:
            tail = f" {name}" if name else ""
            self.body(behind, tail, indent, start + offset)
            return
        text = declare(self._types, type_id, name) + (f":{bits}" if bits else "") + ";"
        at = start + offset
        size = size_of(self._types, type_id)
        if bits:
            storage = at // 8 // max(size, 1) * size
            self._line(indent, text, f"{storage:5}:{at - storage * 8:2} {size:3}")
        else:
            self._line(indent, text, f"{at // 8:5} {size:5}")

    def _line(self, indent: int, text: str, comment: str = "") -> None:
        if len(self._lines) >= _MOST_LINES:
            raise bad("a type has too many members")
        line = "\t" * indent + text
        if comment:
            width = 8 * indent + len(text)
            line += " " * max(1, _COMMENT_COLUMN - width) + f"/* {comment} */"
        self._lines.append(line)
