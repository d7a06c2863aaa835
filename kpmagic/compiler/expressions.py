# SPDX-License-Identifier: MIT
"""What the expressions of a handler are: walks clang's AST of one function.

A kprobe's arguments are not trusted by the verifier, so every value that a body loads through a
pointer must become a probe read. This finds those loads, and the type of every argument of
kpmagic's own calls. It changes nothing: it answers with edits to be made in the text.
"""

from __future__ import annotations

from typing import Any

from clang.cindex import Cursor, CursorKind, Type, TypeKind

MARK = "__kp"  # the function that stands for emit and the aggregations
SCAFFOLD_LINES = 2  # what stands before the user's text; see kpmagic/marked.py
STRINGS = {"__kp_str": "kernel_string", "__kp_user_str": "user_string"}
ERRNO = "__kp_errno_name"
STACKS = {"__kp_kstack": "kernel_stack", "__kp_ustack": "user_stack"}

_CHARS = (TypeKind.CHAR_S, TypeKind.CHAR_U, TypeKind.SCHAR, TypeKind.UCHAR)
_SIGNED = (
    TypeKind.CHAR_S,
    TypeKind.SCHAR,
    TypeKind.SHORT,
    TypeKind.INT,
    TypeKind.LONG,
    TypeKind.LONGLONG,
)
_UNSIGNED = (
    TypeKind.CHAR_U,
    TypeKind.UCHAR,
    TypeKind.USHORT,
    TypeKind.UINT,
    TypeKind.ULONG,
    TypeKind.ULONGLONG,
)
_ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.VARIABLEARRAY)
_UNEVALUATED = (CursorKind.CXX_UNARY_EXPR, CursorKind.TYPE_REF)


class Refused(Exception):
    """An expression that a handler may not hold: ``offset`` and why."""

    def __init__(self, offset: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message
        self.hint = hint


def peel(node: Cursor) -> Cursor:
    """Return the expression under implicit casts and parentheses."""
    while node.kind in (CursorKind.UNEXPOSED_EXPR, CursorKind.PAREN_EXPR):
        children = list(node.get_children())
        if len(children) != 1:
            break
        node = children[0]
    return node


def describe(type_: Type) -> dict[str, Any]:
    """Return a C type as plain data: kind, size in bytes, signed, name."""
    real = type_.get_canonical()
    about: dict[str, Any] = {"name": type_.spelling, "size": real.get_size(), "signed": False}
    if real.kind == TypeKind.BOOL:
        return about | {"kind": "bool"}
    if real.kind in _SIGNED or real.kind in _UNSIGNED:
        return about | {"kind": "int", "signed": real.kind in _SIGNED}
    if real.kind == TypeKind.POINTER:
        pointee = real.get_pointee().get_canonical()
        return about | {"kind": "pointer", "to_char": pointee.kind in _CHARS}
    if real.kind == TypeKind.ENUM:
        whole = real.get_declaration().enum_type.get_canonical()
        return about | {
            "kind": "enum",
            "signed": whole.kind in _SIGNED,
            "enumerators": _enumerators(real),
        }
    if real.kind in _ARRAYS:
        element = real.get_array_element_type()
        return about | {
            "kind": "array",
            "count": real.get_array_size(),
            "element": describe(element),
            "text": element.get_canonical().kind == TypeKind.CHAR_S,
        }
    return about | {"kind": real.kind.name.lower()}


def _enumerators(enum: Type) -> dict[str, str]:
    return {
        str(child.enum_value): child.spelling
        for child in enum.get_declaration().get_children()
        if child.kind == CursorKind.ENUM_CONSTANT_DECL
    }


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
        if self.place(node) and not _is_address(node.type):
            self._load(peel(node))

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
        return False

    def _wrapped(self, node: Cursor, child: Cursor) -> bool:
        """An implicit cast or parentheses: still the same place, unless the cast changes it."""
        if node.kind == CursorKind.PAREN_EXPR or _is_address(child.type):
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
        if _is_context(peel(base)):
            return False
        self.value(base)
        return True

    def _subscript(self, children: list[Cursor]) -> bool:
        base, index = children
        self.value(index)
        if peel(base).type.get_canonical().kind in _ARRAYS:
            return self.place(base)
        self.value(base)
        return True

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
        operator = between.strip().rstrip(b"( \t\r\n")
        assigns = node.kind == CursorKind.COMPOUND_ASSIGNMENT_OPERATOR or operator == b"="
        if assigns:
            self._written(left)
        else:
            self.value(left)
        self.value(right)
        return False

    def _written(self, node: Cursor) -> None:
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
                {"call": int(number), "arguments": [self._argument(a) for a in arguments]}
            )
            return False
        for argument in node.get_arguments():
            self.value(argument)
        if node.spelling in STRINGS:
            raise Refused(
                node.extent.start.offset,
                "a string can only be a column or a key",
                "write emit(name = str(…)), or compare single characters",
            )
        if node.spelling == ERRNO:
            raise Refused(
                node.extent.start.offset,
                "an error's name can only be a column or a key",
                "compare the number: retval == -2",
            )
        if node.spelling in STACKS:
            raise Refused(
                node.extent.start.offset,
                "a stack can only be a column or a key",
                "write emit(kstack()), or count(by = kstack())",
            )
        return False

    def _argument(self, node: Cursor) -> dict[str, Any]:
        """Describe an argument of emit or of an aggregation."""
        inner = peel(node)
        start, end = node.extent.start.offset, node.extent.end.offset
        if inner.kind == CursorKind.CALL_EXPR and inner.spelling in STRINGS:
            return self._string(inner, start, end)
        if inner.kind == CursorKind.CALL_EXPR and inner.spelling in STACKS:
            return self._stack(inner, start, end)
        if inner.kind == CursorKind.CALL_EXPR and inner.spelling == ERRNO:
            return self._errno(inner, start, end)
        about = describe(inner.type)
        if _is_bitfield(inner):
            about["bits"] = inner.referenced.get_bitfield_width()
        in_kernel = self.place(inner)
        if in_kernel and not _is_address(inner.type) and about["kind"] != "record":
            self._load(inner)
        form = "value"
        if about["kind"] == "array":
            form = "kernel_array" if in_kernel else "local_array"
        elif about["kind"] == "pointer" and about["to_char"] and in_kernel:
            form = "kernel_string"
        return {"start": start, "end": end, "form": form, "type": about}

    def _string(self, call: Cursor, start: int, end: int) -> dict[str, Any]:
        what, *rest = list(call.get_arguments())
        self.value(what)
        size = self.text[rest[0].extent.start.offset : rest[0].extent.end.offset] if rest else b""
        return {
            "start": start,
            "end": end,
            "form": STRINGS[call.spelling],
            "inner": [what.extent.start.offset, what.extent.end.offset],
            "string_size": size.decode("latin-1"),
            "type": describe(what.type),
        }

    def _errno(self, call: Cursor, start: int, end: int) -> dict[str, Any]:
        (number,) = call.get_arguments()
        self.value(number)
        return {
            "start": start,
            "end": end,
            "form": "errno",
            "inner": [number.extent.start.offset, number.extent.end.offset],
            "type": describe(number.type),
        }

    def _stack(self, call: Cursor, start: int, end: int) -> dict[str, Any]:
        arguments = [argument.extent for argument in call.get_arguments()]
        texts = [self.text[each.start.offset : each.end.offset] for each in arguments]
        return {
            "start": start,
            "end": end,
            "form": STACKS[call.spelling],
            "depth": ", ".join(text.decode("latin-1") for text in texts),
            "type": describe(call.type),
        }

    def _load(self, node: Cursor) -> None:
        start, end = node.extent.start.offset, node.extent.end.offset
        if _is_bitfield(node):
            self._load_bits(node, start, end)
            return
        name = unqualified(node.type)
        if "(unnamed" in name or "(anonymous" in name:
            name = f"typeof({self.text[start:end].decode('latin-1')})"
        self._openings.append((start, start, f"KP_LOAD({name}, &("))
        self._closings.append((end, end, "))"))

    def _load_bits(self, node: Cursor, start: int, end: int) -> None:
        """Read the bytes that hold a bit field: its own address cannot be taken."""
        base = next(iter(node.get_children()))
        record = peel(base).type.get_canonical()
        arrow = record.kind == TypeKind.POINTER
        if arrow:
            record = record.get_pointee().get_canonical()
        first = record.get_offset(node.spelling)
        width = node.referenced.get_bitfield_width()
        byte, shift = divmod(first, 8)
        count = (shift + width + 7) // 8
        about = describe(node.type)
        wide = "__s64" if about["signed"] else "__u64"
        name = unqualified(node.type)
        opening = f"KP_LOAD_BITS({name}, {wide}, {'' if arrow else '&'}("
        self._openings.append((start, start, opening))
        closing = f"), {byte}, {count}, {shift}, {width})"
        self._closings.append((base.extent.end.offset, end, closing))


def _is_address(type_: Type) -> bool:
    """Whether a place of this type stands for its own address: an array or a function."""
    return type_.get_canonical().kind in (*_ARRAYS, TypeKind.FUNCTIONPROTO)


def unqualified(type_: Type) -> str:
    """Return the spelling of a type without its outermost const and volatile."""
    real = type_.get_canonical()
    if real.kind == TypeKind.ENUM:
        return "__s32" if describe(real)["signed"] else "__u32"
    name = str(real.spelling)
    if real.kind == TypeKind.POINTER:
        for word in ("restrict", "volatile", "const"):
            name = name.removesuffix(word).rstrip()
        return name.replace("(*const)", "(*)").replace("(*volatile)", "(*)")
    words = name.split(" ")
    while words[0] in ("const", "volatile"):
        words.pop(0)
    return " ".join(words)


def _is_bitfield(node: Cursor) -> bool:
    return node.kind == CursorKind.MEMBER_REF_EXPR and bool(node.referenced.is_bitfield())


def _is_context(node: Cursor) -> bool:
    """Whether this is the builtin ``regs``: the program's own context, which is loaded directly.

    A parameter or a variable of the user's may have the same name.
    """
    if node.kind != CursorKind.DECL_REF_EXPR or node.spelling != "regs":
        return False
    declaration = node.referenced
    of_the_user = declaration.location.line > SCAFFOLD_LINES
    return declaration.kind == CursorKind.VAR_DECL and not of_the_user
