# SPDX-License-Identifier: MIT
"""A type as a tree of its members, with offset and size of each in bytes, as pahole has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kpmagic.kernel.btf_struct import enumerators, rows
from kpmagic.kernel.btf_text import declare, has_name, size_of, strip, type_name, unqualified
from kpmagic.kernel.btf_types import Kind, Type, Types, bad

_LAYOUTS = (Kind.STRUCT, Kind.UNION)
_ENUMS = (Kind.ENUM, Kind.ENUM64)
_COMMENT_COLUMN = 56
_DEEPEST = 32
MOST = 20_000


@dataclass(frozen=True)
class Node:
    """One line: ``text`` and a ``comment`` (offset and size), and what is inside.

    What is inside stands between ``text`` as far as its brace and ``tail``, when it is ``open``;
    else the line alone says what it is.
    """

    text: str
    comment: str = ""
    inside: tuple[Node, ...] = ()
    head: str = ""
    tail: str = ""
    open: bool = False

    def lines(self, indent: int = 0) -> Iterator[str]:
        """Yield it as text."""
        if not self.open:
            yield _line(indent, self.text, self.comment)
            return
        yield _line(indent, self.head, "" if self.tail else self.comment)
        for node in self.inside:
            yield from node.lines(indent + 1)
        if self.tail:
            yield _line(indent, self.tail, self.comment)


def _line(indent: int, text: str, comment: str) -> str:
    line = "\t" * indent + text
    if not comment:
        return line
    width = 8 * indent + len(text)
    return line + " " * max(1, _COMMENT_COLUMN - width) + f"/* {comment} */"


def tree(types: Types, type_id: int, depth: int = 1, deeper: int = 0, most: int = MOST) -> Node:
    """Return a type's tree, open ``depth`` levels down and known ``deeper`` levels below them.

    Raises TargetError for a type that contains itself, and for one of more than ``most`` lines.
    """
    found = unqualified(types, type_id)
    grower = _Grower(types, depth, depth + deeper, most)
    if found.kind == Kind.TYPEDEF:
        inner = unqualified(types, found.value)
        if inner.kind in (*_LAYOUTS, *_ENUMS) and not inner.name:
            return grower.outermost(inner, f" {found.name}", "typedef ")
        return grower.typedef(found)
    if found.kind in (*_LAYOUTS, *_ENUMS):
        return grower.outermost(found, "", "")
    return Node(f"{type_name(types, found)};")


def line(types: Types, name: str, type_id: int, at: int, bits: int = 0) -> Node:
    """Return a member's one line, ``at`` bits behind the start; below 0 it says no offset."""
    text = declare(types, type_id, name) + (f":{bits}" if bits else "") + ";"
    size = size_of(types, type_id)
    if at < 0:
        return Node(text)
    if not bits:
        return Node(text, f"{at // 8:5} {size:5}")
    storage = at // 8 // max(size, 1) * size
    return Node(text, f"{storage:5}:{at - storage * 8:2} {size:3}")


class _Grower:
    def __init__(self, types: Types, depth: int, deepest: int, most: int) -> None:
        self._types = types
        self._depth = depth
        self._deepest = deepest
        self._left = most

    def typedef(self, found: Type, level: int = 1) -> Node:
        """Return ``typedef A B;`` with what A is inside: another typedef, or the struct."""
        text = f"typedef {declare(self._types, found.value, found.name)};"
        inner = unqualified(self._types, found.value)
        if inner.kind == Kind.TYPEDEF:
            if level > _DEEPEST:
                raise bad(f"type {found.id} contains itself")
            inside = self.typedef(inner, level + 1)
            return Node(text, "", (inside,), text, "", True)
        if inner.kind in (*_LAYOUTS, *_ENUMS):
            return Node(text, "", (self.outermost(inner, "", ""),), text, "", True)
        return Node(text)

    def outermost(self, found: Type, tail: str, prefix: str) -> Node:
        """Return the tree of a struct, union or enum that is asked for by name."""
        head = f"{prefix}{self._head(found)}"
        inside = tuple(self._inside(found, 1, 0))
        return Node(f"{head} … }}{tail};", f"size: {found.value}", inside, head, f"}}{tail};", True)

    def _head(self, found: Type) -> str:
        word = "enum" if found.kind in _ENUMS else found.kind.name.lower()
        name = f" {found.name}" if has_name(found) else ""
        return f"{word}{name} {{"

    def _inside(self, found: Type, level: int, start: int) -> Iterator[Node]:
        """Yield the members of a type that begins ``start`` bits behind the outermost."""
        if level > _DEEPEST:
            raise bad(f"type {found.id} contains itself")
        if found.kind in _ENUMS:
            for label, value in enumerators(self._types, found):
                yield self._node(Node(f"{label} = {value},"))
            return
        for row in rows(self._types, found):
            yield self._node(self._member(row, level, start))

    def _node(self, node: Node) -> Node:
        self._left -= 1
        if self._left < 0:
            raise bad("a type has too many members")
        return node

    def _member(self, row: tuple[str, int, int, int], level: int, start: int) -> Node:
        name, type_id, offset, bits = row
        behind = strip(self._types, type_id)
        at = start + offset
        plain = line(self._types, name, type_id, at, bits)
        named = has_name(unqualified(self._types, type_id))
        is_open = behind.kind in _LAYOUTS and (not named or level < self._depth)
        if behind.kind == Kind.ARRAY:  # what is inside is that of the first element
            behind = strip(self._types, behind.extra[0][0])
        if not (is_open or (level < self._deepest and behind.kind in (*_LAYOUTS, *_ENUMS))):
            return plain
        inside = tuple(self._inside(behind, level + 1, at))
        head = self._head(behind)
        tail = f"}} {name};" if name else "};"
        text = f"{head} … {tail}" if is_open and not named else plain.text
        return Node(text, plain.comment, inside, head, tail, is_open)
