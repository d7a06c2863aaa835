# SPDX-License-Identifier: MIT
"""What the expressions of a handler are: walks clang's AST of one function.

A kprobe's arguments are not trusted by the verifier, so every value that a body loads through a
pointer must become a probe read. This finds those loads, and the type of every argument of
kpmagic's own calls. It changes nothing: it answers with edits to be made in the text.
"""

from __future__ import annotations

import re
from typing import Any

from clang.cindex import Cursor, CursorKind, TypeKind

from kpmagic.compiler.arguments import ERRNO, STACKS, STRINGS, describe_argument
from kpmagic.compiler.cursors import (
    is_bitfield,
    is_context,
    is_literal,
    is_of_context,
    is_pointer,
    peel,
)
from kpmagic.compiler.filling import FILLING, own_memory, room
from kpmagic.compiler.types import (
    ARRAYS,
    describe,
    is_address,
    load_bits,
    named,
)

MARK = "__kp"  # the function that stands for emit and the aggregations

# what has a value in an argument of `MARK` alone: what is wrong elsewhere, and what to do
_IN_ARGUMENTS = {
    **dict.fromkeys(STRINGS, ("a string can only be a column or a key",
                              "write emit(name = str(…)), or compare single characters")),
    ERRNO: ("an error's name can only be a column or a key", "compare the number: retval == -2"),
    **dict.fromkeys(STACKS, ("a stack can only be a column or a key",
                             "write emit(kstack()), or count(by = kstack())")),
}  # fmt: skip

_COMMENT = re.compile(rb"/\*.*?\*/|//[^\n]*", re.DOTALL)
_ZERO = re.compile(rb"\(?0[xX]?0*[uUlL]*\)?")
_DIVISIONS = {b"/": "KP_QUOTIENT", b"%": "KP_REMAINDER"}
_LOOPS = (CursorKind.FOR_STMT, CursorKind.WHILE_STMT, CursorKind.DO_STMT)
_UNEVALUATED = (CursorKind.CXX_UNARY_EXPR, CursorKind.TYPE_REF)


class Refused(Exception):
    """An expression that a handler may not hold: ``offset`` and why."""

    def __init__(self, offset: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message
        self.hint = hint


class Walk:
    """One pass over a function's body: `edits` to be made in it, and ``calls`` of `MARK`."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.calls: list[dict[str, Any]] = []
        self._openings: list[tuple[int, int, str]] = []
        self._closings: list[tuple[int, int, str]] = []

    @property
    def edits(self) -> list[tuple[int, int, str]]:
        """[start, end, text] in the order to be made; of two that begin together, outer first."""
        in_order = [*reversed(self._openings), *self._closings]
        return sorted(in_order, key=lambda edit: edit[:2])

    def statement(self, node: Cursor) -> None:
        """Visit a statement, or an expression whose value is used."""
        self.value(node)

    def value(self, node: Cursor) -> None:
        """Visit ``node`` where its value is used: what lies in kernel memory becomes a load."""
        if self.place(node) and not is_address(node.type):
            self.load(peel(node))

    def place(self, node: Cursor) -> bool:
        """Visit ``node`` as a place; return whether that place is in kernel memory."""
        kind = node.kind
        children = list(node.get_children())
        if kind in _UNEVALUATED:
            return False
        if kind == CursorKind.MEMBER_REF_EXPR:
            return self._member(node, children)
        if kind == CursorKind.ARRAY_SUBSCRIPT_EXPR:
            return self._subscript(children)
        if kind == CursorKind.UNARY_OPERATOR:
            return self._unary(node, children)
        if kind in (CursorKind.BINARY_OPERATOR, CursorKind.COMPOUND_ASSIGNMENT_OPERATOR):
            return self._binary(node, children)
        if kind in (CursorKind.PAREN_EXPR, CursorKind.UNEXPOSED_EXPR) and len(children) == 1:
            return self._wrapped(node, children[0])
        if kind == CursorKind.CALL_EXPR:
            return self._call(node, children)
        if kind == CursorKind.DECL_STMT and all(c.kind == CursorKind.VAR_DECL for c in children):
            start = node.extent.start.offset
            self._openings.append((start, start, "KP_LOCAL "))
        for child in children:
            self.value(child)
        if kind in _LOOPS:
            self._turn(children[0] if kind == CursorKind.DO_STMT else children[-1])
        return False

    def _turn(self, body: Cursor) -> None:
        """Count the turns of a loop: in a module no verifier has seen that it ends.

        With an else of its own it takes nobody's: whatever stands here, and whatever follows.
        """
        start = body.extent.start.offset
        self._openings.append((start, start, "if (!KP_TURN) {} else "))

    def _wrapped(self, node: Cursor, child: Cursor) -> bool:
        """An implicit cast or parentheses: still the same place, unless the cast changes it."""
        if node.kind == CursorKind.PAREN_EXPR or is_address(child.type):
            return self.place(child)
        if node.type.get_canonical().kind == child.type.get_canonical().kind:
            return self.place(child)
        self.value(child)
        return False

    def _member(self, node: Cursor, children: list[Cursor]) -> bool:
        if not children:
            return False
        base = children[0]
        if peel(base).type.get_canonical().kind != TypeKind.POINTER:
            return self.place(base)
        if is_context(peel(base)):
            return False
        self.value(base)
        return True

    def _subscript(self, children: list[Cursor]) -> bool:
        base, index = children
        self.value(index)
        whole = peel(base).type.get_canonical()
        if whole.kind in ARRAYS:
            in_kernel = self.place(base)
            if not in_kernel and whole.kind == TypeKind.CONSTANTARRAY:
                self._index(index, whole.get_array_size())
            return in_kernel
        self.value(base)
        return True

    def _index(self, index: Cursor, size: int) -> None:
        """Keep an index of the user's own array inside it: in a module no verifier does."""
        start, end = index.extent.start.offset, index.extent.end.offset
        text = self.text[start:end]
        if text.isdigit() and int(text) < size:
            return
        self._openings.append((start, start, "KP_INDEX("))
        self._closings.append((end, end, f", {size})"))

    def _unary(self, node: Cursor, children: list[Cursor]) -> bool:
        child = children[0]
        sign = self.text[node.extent.start.offset : node.extent.start.offset + 2].decode("latin-1")
        if sign[:1] == "*":
            self.value(child)
            return True
        if sign[:1] == "&" and sign != "&&":
            self.place(child)
            return False
        postfix = self.text[child.extent.end.offset : node.extent.end.offset]
        if sign in ("++", "--") or postfix.strip() in (b"++", b"--"):
            self._written(child)
            return False
        self.value(child)
        return False

    def _binary(self, node: Cursor, children: list[Cursor]) -> bool:
        left, right = children
        between = self.text[left.extent.end.offset : right.extent.start.offset]
        operator = _COMMENT.sub(b" ", between).strip().rstrip(b"( \t\r\n")
        assigns = node.kind == CursorKind.COMPOUND_ASSIGNMENT_OPERATOR or operator == b"="
        if assigns:
            self._written(left)
        else:
            self.value(left)
        self.value(right)
        if operator.rstrip(b"=") in _DIVISIONS and self._must_be_safe(node, left, right):
            self._divide(node, left, right, _DIVISIONS[operator.rstrip(b"=")], assigns)
        return False

    def _must_be_safe(self, node: Cursor, left: Cursor, right: Cursor) -> bool:
        """Whether a division may be one that BPF cannot do, or no processor can."""
        about = describe(node.type)
        divisor = self.text[right.extent.start.offset : right.extent.end.offset]
        if is_literal(right) and not _ZERO.fullmatch(divisor):
            return bool(about["signed"]) and not is_literal(left)
        return bool(about["kind"] == "int")

    def _divide(self, node: Cursor, left: Cursor, right: Cursor, macro: str, assigns: bool) -> None:
        """Divide as BPF does: it knows no sign, and a module would end the machine by a 0."""
        begin, end = left.extent.end.offset, right.extent.start.offset
        lines = "\n" * self.text[begin:end].count(b"\n")
        if not assigns:
            start = node.extent.start.offset
            self._openings.append((start, start, f"{macro}(("))
            self._closings.append((begin, end, f"), ({lines}"))
        else:
            variable = self.text[left.extent.start.offset : begin].decode("latin-1")
            if not variable.isidentifier():
                sign = "%" if macro == _DIVISIONS[b"%"] else "/"
                raise Refused(node.extent.start.offset,
                              f"x {sign}= y needs a plain variable on its left",
                              f"write x = x {sign} y")  # fmt: skip
            self._closings.append((begin, end, f" = {macro}(({variable}), ({lines}"))
        self._closings.append((right.extent.end.offset, right.extent.end.offset, "))"))

    def _written(self, node: Cursor) -> None:
        if is_of_context(node):
            raise Refused(
                node.extent.start.offset,
                "a probe may not write to the registers",
                "skip_function(v) and set_retval(v) change what is returned",
            )
        if self.place(node):
            raise Refused(
                node.extent.start.offset,
                "a probe may not write to kernel memory",
                "copy the value into a variable of your own first",
            )

    def _call(self, node: Cursor, children: list[Cursor]) -> bool:
        if node.spelling == MARK:
            index, *arguments = list(node.get_arguments())
            number = self.text[index.extent.start.offset : index.extent.end.offset]
            self.calls.append(
                {
                    "call": int(number),
                    "arguments": [describe_argument(self, each) for each in arguments],
                }
            )
            return False
        if children and is_pointer(peel(children[0])):
            raise Refused(
                node.extent.start.offset,
                "a handler cannot call through a pointer",
                "it reads memory and calls kpmagic's words",
            )
        for argument in node.get_arguments():
            self.value(argument)
        if node.spelling in FILLING:
            self._fill(node.spelling, *list(node.get_arguments())[FILLING[node.spelling] :][:2])
        if node.spelling in _IN_ARGUMENTS:
            raise Refused(node.extent.start.offset, *_IN_ARGUMENTS[node.spelling])
        return False

    def _fill(self, helper: str, memory: Cursor, size: Cursor) -> None:
        """Keep a helper inside a variable of the body's own: in a module no verifier does."""
        own = own_memory(memory, self.text)
        if own is None:
            raise Refused(
                memory.extent.start.offset,
                f"{helper}() may fill a variable of the body's own only",
                "declare one, and give its address: char name[16]; … &name, sizeof(name)",
            )
        self._index(size, room(own, self.text) + 1)

    def load(self, node: Cursor) -> None:
        """Have the value of ``node``, which lies in kernel memory, read from there."""
        start, end = node.extent.start.offset, node.extent.end.offset
        if is_bitfield(node):
            self._load_bits(node, start, end)
            return
        name = named(node.type, self.text[start:end].decode("latin-1"))
        self._openings.append((start, start, f"KP_LOAD({name}, &("))
        self._closings.append((end, end, "))"))

    def _load_bits(self, node: Cursor, start: int, end: int) -> None:
        """Read the bytes that hold a bit field: its own address cannot be taken."""
        first = node.referenced.get_field_offsetof()
        base = next(iter(node.get_children()))
        # what ends where the field's name does is not written: an unnamed struct, a macro's part
        while base.kind == CursorKind.MEMBER_REF_EXPR and base.extent.end.offset == end:
            first += base.referenced.get_field_offsetof()
            base = next(iter(base.get_children()))
        arrow = peel(base).type.get_canonical().kind == TypeKind.POINTER
        opening, closing = load_bits(node.type, first, node.referenced.get_bitfield_width())
        self._openings.append((start, start, opening + ("(" if arrow else "&(")))
        self._closings.append((base.extent.end.offset, end, ")" + closing))
