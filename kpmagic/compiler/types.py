# SPDX-License-Identifier: MIT
"""C types as clang knows them, as plain data; and the C that reads what is of such a type."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from clang.cindex import Cursor, CursorKind, Type, TypeKind

BASE = "\0"  # where the struct stands in a member's code
DEEPEST = 8  # structs in structs
MOST = 1024  # members

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
ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.VARIABLEARRAY)


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
    if real.kind in ARRAYS:
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


def form_of(about: dict[str, Any], in_kernel: bool) -> str:
    """Return how a value is put into a column; see kpmagic/cell/handler.py."""
    if about["kind"] == "array":
        return "kernel_array" if in_kernel else "local_array"
    if about["kind"] == "pointer" and about["to_char"] and in_kernel:
        return "kernel_string"
    return "value"


def load_bits(type_: Type, first: int, width: int) -> tuple[str, str]:
    """Return what stands before and behind the address of a struct to read a bit field of it."""
    byte, shift = divmod(first, 8)
    wide = "__s64" if describe(type_)["signed"] else "__u64"
    count = (shift + width + 7) // 8
    opening = f"KP_LOAD_BITS({unqualified(type_)}, {wide}, "
    return opening, f", {byte}, {count}, {shift}, {width})"


def is_address(type_: Type) -> bool:
    """Whether a place of this type stands for its own address: an array or a function."""
    return type_.get_canonical().kind in (*ARRAYS, TypeKind.FUNCTIONPROTO)


def unqualified(type_: Type) -> str:
    """Return the spelling of a type without its outermost const and volatile."""
    real = type_.get_canonical()
    if real.kind == TypeKind.ENUM:
        return f"__{'s' if describe(real)['signed'] else 'u'}{8 * real.get_size()}"
    name = str(real.spelling)
    if real.kind == TypeKind.POINTER:
        for word in ("restrict", "volatile", "const"):
            name = name.removesuffix(word).rstrip()
        return name.replace("(*const)", "(*)").replace("(*volatile)", "(*)")
    words = name.split(" ")
    while words[0] in ("const", "volatile"):
        words.pop(0)
    return " ".join(words)


def members(record: Type, in_kernel: bool) -> list[dict[str, Any]]:
    """Return the members of a struct or union, those of structs in it included.

    Each has its ``path`` (``f_path.dentry``), its ``level`` (1 for a direct one), type and form,
    and ``code``, which reads it, with BASE for the struct. A struct inside is there itself too.
    """
    return list(islice(_members(record, "", 0, 1, in_kernel), MOST))


def _members(
    record: Type, prefix: str, start: int, level: int, in_kernel: bool
) -> Iterator[dict[str, Any]]:
    """Yield the members of a record that begins ``start`` bits behind the outermost."""
    for field in record.get_canonical().get_fields():
        at = start + field.get_field_offsetof()
        nested = field.type.get_canonical().kind == TypeKind.RECORD
        if not field.spelling or "(" in field.spelling:
            if nested and level <= DEEPEST:  # unnamed: its members are the struct's own
                yield from _members(field.type, prefix, at, level, in_kernel)
            continue
        path = prefix + field.spelling
        yield _member(field, path, at, level, in_kernel)
        if nested and level < DEEPEST:
            yield from _members(field.type, f"{path}.", at, level + 1, in_kernel)


def _member(field: Cursor, path: str, at: int, level: int, in_kernel: bool) -> dict[str, Any]:
    about = describe(field.type)
    place = f"({BASE}).{path}"
    if not in_kernel or is_address(field.type) or about["kind"] == "record":
        code = place
    elif field.is_bitfield():
        opening, closing = load_bits(field.type, at, field.get_bitfield_width())
        code = f"{opening}&({BASE}){closing}"
    else:
        code = load(field.type, place)
    return {
        "path": path,
        "level": level,
        "code": code,
        "form": form_of(about, in_kernel),
        "type": about,
    }


def load(type_: Type, place: str) -> str:
    """Return the C that reads what is at a place in kernel memory."""
    return f"KP_LOAD({named(type_, place)}, &({place}))"


def named(type_: Type, place: str) -> str:
    """Return a type's name; one without a name by a place that is of it."""
    name = unqualified(type_)
    return f"typeof({place})" if "(unnamed" in name or "(anonymous" in name else name
