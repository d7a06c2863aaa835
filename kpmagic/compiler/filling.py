# SPDX-License-Identifier: MIT
"""Helpers that fill memory: where it is, and how much of it there is."""

from __future__ import annotations

from clang.cindex import Cursor, CursorKind

from kpmagic.compiler.cursors import is_own, peel
from kpmagic.compiler.types import ARRAYS

# which argument is the memory; the next is its size
FILLING = {"bpf_get_current_comm": 0, "bpf_get_stack": 1, "bpf_probe_read_kernel": 0,
           "bpf_probe_read_kernel_str": 0, "bpf_probe_read_user": 0,
           "bpf_probe_read_user_str": 0}  # fmt: skip


def own_memory(given: Cursor, text: bytes) -> Cursor | None:
    """Return the variable, member or element whose address is given, if it is the body's."""
    given = peel(given)
    while given.kind == CursorKind.CSTYLE_CAST_EXPR:
        given = peel(list(given.get_children())[-1])
    if given.kind == CursorKind.UNARY_OPERATOR:
        if text[given.extent.start.offset :][:1] != b"&":
            return None
        given = peel(next(iter(given.get_children())))
    elif given.type.get_canonical().kind not in ARRAYS:
        return None
    return given if is_own(given) else None


def room(own: Cursor, text: bytes) -> int:
    """Return the bytes there are from where a variable, member or element begins."""
    size: int = own.type.get_canonical().get_size()
    if own.kind == CursorKind.ARRAY_SUBSCRIPT_EXPR:
        array, index = own.get_children()
        number = text[index.extent.start.offset : index.extent.end.offset]
        whole: int = peel(array).type.get_canonical().get_size()
        return whole - size * int(number) if number.isdigit() else size
    return size
