# SPDX-License-Identifier: MIT
"""What the arguments of kpmagic's own calls are: a column or a key each, in some form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clang.cindex import Cursor, CursorKind

from kpmagic.compiler.cursors import peel
from kpmagic.compiler.types import describe, form_of, is_address, members

if TYPE_CHECKING:
    from kpmagic.compiler.expressions import Walk

STRINGS = {"__kp_str": "kernel_string", "__kp_user_str": "user_string"}
ERRNO = "__kp_errno_name"
STACKS = {"__kp_kstack": "kernel_stack", "__kp_ustack": "user_stack"}


def describe_argument(walk: Walk, node: Cursor) -> dict[str, Any]:
    """Describe an argument of emit or of an aggregation."""
    inner = peel(node)
    start, end = node.extent.start.offset, node.extent.end.offset
    if inner.kind == CursorKind.CALL_EXPR and inner.spelling in STRINGS:
        return _string(walk, inner, start, end)
    if inner.kind == CursorKind.CALL_EXPR and inner.spelling in STACKS:
        return _stack(walk, inner, start, end)
    if inner.kind == CursorKind.CALL_EXPR and inner.spelling == ERRNO:
        return _errno(walk, inner, start, end)
    about = describe(inner.type)
    in_kernel = walk.place(inner)
    if in_kernel and not is_address(inner.type) and about["kind"] != "record":
        walk.load(inner)
    found = {"start": start, "end": end, "form": form_of(about, in_kernel), "type": about}
    if about["kind"] == "record":
        found["members"] = members(inner.type, in_kernel)
    return found


def _string(walk: Walk, call: Cursor, start: int, end: int) -> dict[str, Any]:
    what, *rest = list(call.get_arguments())
    walk.value(what)
    size = walk.text[rest[0].extent.start.offset : rest[0].extent.end.offset] if rest else b""
    return {
        "start": start,
        "end": end,
        "form": STRINGS[call.spelling],
        "inner": [what.extent.start.offset, what.extent.end.offset],
        "string_size": size.decode("latin-1"),
        "type": describe(what.type),
    }


def _errno(walk: Walk, call: Cursor, start: int, end: int) -> dict[str, Any]:
    (number,) = call.get_arguments()
    walk.value(number)
    return {
        "start": start,
        "end": end,
        "form": "errno",
        "inner": [number.extent.start.offset, number.extent.end.offset],
        "type": describe(number.type),
    }


def _stack(walk: Walk, call: Cursor, start: int, end: int) -> dict[str, Any]:
    arguments = [argument.extent for argument in call.get_arguments()]
    texts = [walk.text[each.start.offset : each.end.offset] for each in arguments]
    return {
        "start": start,
        "end": end,
        "form": STACKS[call.spelling],
        "depth": ", ".join(text.decode("latin-1") for text in texts),
        "type": describe(call.type),
    }
