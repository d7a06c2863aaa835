# SPDX-License-Identifier: MIT
"""BTF types as C text, and what C text needs to know of them."""

from __future__ import annotations

from kpmagic.kernel.btf_types import Kind, Type, Types, bad

POINTER_SIZE = 8

_QUALIFIERS = {Kind.CONST: "const", Kind.VOLATILE: "volatile", Kind.RESTRICT: "restrict"}
_TRANSPARENT = {Kind.TYPEDEF, Kind.TYPE_TAG, *_QUALIFIERS}
_KEYWORD = {Kind.STRUCT: "struct ", Kind.UNION: "union ", Kind.ENUM: "enum ",
            Kind.ENUM64: "enum "}  # fmt: skip
_TAGGED = frozenset({Kind.STRUCT, Kind.UNION, Kind.FWD})
_INTEGER = {1: "char", 2: "short", 4: "int", 8: "long"}
_DEEPEST = 64


def strip(types: Types, type_id: int, also: frozenset[Kind] = frozenset()) -> Type:
    """Return the type behind typedefs, qualifiers and tags, and the kinds in ``also``."""
    for _ in range(_DEEPEST):
        found = types.type(type_id)
        if found.kind not in _TRANSPARENT and found.kind not in also:
            return found
        type_id = found.value
    raise bad(f"type {type_id} contains itself")


def unqualified(types: Types, type_id: int) -> Type:
    """Return the type behind qualifiers and tags; a typedef stays."""
    for _ in range(_DEEPEST):
        found = types.type(type_id)
        if found.kind not in _QUALIFIERS and found.kind != Kind.TYPE_TAG:
            return found
        type_id = found.value
    raise bad(f"type {type_id} contains itself")


def size_of(types: Types, type_id: int) -> int:
    """Return the size of a type in bytes, 0 for what has none. Raises TargetError."""
    count = 1
    for _ in range(_DEEPEST):
        found = strip(types, type_id, frozenset({Kind.VAR}))
        if found.kind == Kind.ARRAY:
            type_id, _, elements = found.extra[0]
            count *= elements
        elif found.kind == Kind.PTR:
            return count * POINTER_SIZE
        elif found.kind in (Kind.VOID, Kind.FWD, Kind.FUNC, Kind.FUNC_PROTO, Kind.DECL_TAG):
            return 0
        else:
            return count * found.value
    raise bad(f"type {type_id} contains itself")


def kind_of(types: Types, type_id: int) -> str:
    """Return int, bool, enum, pointer, struct, union or float."""
    found = strip(types, type_id)
    match found.kind:
        case Kind.INT:
            return "bool" if found.extra[0][0] >> 24 & 4 else "int"
        case Kind.ENUM | Kind.ENUM64:
            return "enum"
        case Kind.STRUCT | Kind.UNION | Kind.FLOAT:
            return found.kind.name.lower()
        case Kind.FWD:
            return "union" if found.flag else "struct"
        case Kind.PTR | Kind.ARRAY | Kind.FUNC_PROTO:
            return "pointer"
        case _:
            return "int"


def declare(types: Types, type_id: int, name: str = "") -> str:
    """Return the C declaration of ``name``, or the type alone (``char *``) without a name."""
    return _Declaration(types).of(type_id, name)


class _Declaration:
    """Writes one declaration from the inside out, and gives up on types without end."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._left = 2000

    def of(self, type_id: int, inner: str, depth: int = 0) -> str:
        """Return the declaration of ``inner``, a name with what is around it so far."""
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            raise bad(f"type {type_id} contains itself")
        found = self._types.type(type_id)
        match found.kind:
            case Kind.PTR:
                return self._pointer(found, inner, depth)
            case Kind.ARRAY:
                element, _, count = found.extra[0]
                return self.of(element, f"{inner}[{count}]", depth + 1)
            case Kind.FUNC_PROTO:
                return self.of(found.value, f"{inner}({self._parameters(found, depth)})", depth + 1)
            case Kind.CONST | Kind.VOLATILE | Kind.RESTRICT:
                return self._qualified(found, inner, depth)
            case Kind.TYPE_TAG | Kind.VAR | Kind.FUNC | Kind.DECL_TAG:
                return self.of(found.value, inner, depth + 1)
            case Kind.TYPEDEF if not _is_nameable(self._types, found):
                return self.of(found.value, inner, depth + 1)
            case _:
                return _join(type_name(self._types, found), inner)

    def _pointer(self, pointer: Type, inner: str, depth: int) -> str:
        target = unqualified(self._types, pointer.value)
        if target.kind in (Kind.ARRAY, Kind.FUNC_PROTO):
            return self.of(pointer.value, f"(*{inner})", depth + 1)
        if target.kind in _TAGGED and not _is_nameable(self._types, target):
            return f"void *{inner}"
        return self.of(pointer.value, f"*{inner}", depth + 1)

    def _qualified(self, found: Type, inner: str, depth: int) -> str:
        word = _QUALIFIERS[found.kind]
        if unqualified(self._types, found.value).kind == Kind.PTR:
            return self.of(found.value, _join(word, inner), depth + 1)
        return f"{word} {self.of(found.value, inner, depth + 1)}"

    def _parameters(self, prototype: Type, depth: int) -> str:
        texts = [
            self.of(type_id, "", depth + 1) if type_id else "..." for _, type_id in prototype.extra
        ]
        return ", ".join(texts) or "void"


def type_name(types: Types, found: Type) -> str:
    """Return how C names a type that is not built from others; what has no name by its size."""
    if found.kind == Kind.VOID:
        return "void"
    if found.kind in (Kind.INT, Kind.FLOAT, Kind.TYPEDEF):
        return found.name
    if found.kind == Kind.FWD and has_name(found):
        return f"{'union' if found.flag else 'struct'} {found.name}"
    if found.kind in _KEYWORD and _is_nameable(types, found):
        return _KEYWORD[found.kind] + found.name
    if found.kind in (Kind.ENUM, Kind.ENUM64):
        return ("" if found.flag else "unsigned ") + _INTEGER.get(found.value, "int")
    return f"struct {{ char bytes[{size_of(types, found.id)}]; }}"


def has_name(found: Type) -> bool:
    """Say whether C can name the type; Rust's ``Option<u8>`` it cannot."""
    return found.name.isascii() and found.name.isidentifier()


def _is_nameable(types: Types, found: Type) -> bool:
    return has_name(found) and not types.is_namesake(found.id)


def _join(left: str, right: str) -> str:
    return f"{left} {right}" if right else left
