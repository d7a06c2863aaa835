# SPDX-License-Identifier: MIT
"""Where each field of a record lies: the record's only definition, for C and for numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kpmagic.record import HEADER_SIZE, CType, Field, Layout

_C_INTEGERS = {
    (1, False): "__u8",
    (2, False): "__u16",
    (4, False): "__u32",
    (8, False): "__u64",
    (1, True): "__s8",
    (2, True): "__s16",
    (4, True): "__s32",
    (8, True): "__s64",
}


ARRAYS = ("array", "kstack", "ustack")


def element(ctype: CType) -> CType:
    """Return what one element of an array is; any other type is its own."""
    if ctype.kind not in ARRAYS:
        return ctype
    return replace(ctype, kind="int", size=ctype.size // ctype.count, count=1)


def integer(ctype: CType) -> str:
    """Return the C integer type that holds a scalar, or an array's element."""
    one = element(ctype)
    return _C_INTEGERS[one.size, one.signed and one.kind in ("int", "enum", "errno")]


def alignment(ctype: CType) -> int:
    """Return the alignment of a type in bytes."""
    return 1 if ctype.kind == "string" else element(ctype).size


def round_up(size: int, step: int) -> int:
    """Return the least multiple of ``step`` that is not below ``size``."""
    return -(-size // step) * step


def place(fields: Iterable[tuple[str, CType]], start: int = 0) -> tuple[Field, ...]:
    """Return fields at the offsets that a C compiler gives them, from ``start`` on."""
    placed: list[Field] = []
    at = start
    for name, ctype in fields:
        at = round_up(at, alignment(ctype))
        placed.append(Field(name, ctype, at))
        at += ctype.size
    return tuple(placed)


def record(row: int, fields: Iterable[tuple[str, CType]]) -> Layout:
    """Return the layout of the records that one ``emit`` writes."""
    return Layout(row, place(fields, HEADER_SIZE))


def end(fields: Sequence[Field], start: int = 0) -> int:
    """Return the size of a struct of these fields, a multiple of 8."""
    last = max((field.offset + field.type.size for field in fields), default=start)
    return round_up(last, 8)


def record_size(layouts: Iterable[Layout]) -> int:
    """Return the size of the one slot that a record of any of these layouts fits into."""
    return max((end(layout.fields, HEADER_SIZE) for layout in layouts), default=HEADER_SIZE)


def c_name(column: str) -> str:
    """Return what a column is called in its struct: C's names have no dots."""
    return "c_" + column.replace(".", "__")


def declare(field: Field) -> str:
    """Return the C declaration of a field in its struct."""
    name = c_name(field.name)
    if field.type.kind == "string":
        return f"char {name}[{field.type.size}]"
    if field.type.kind in ARRAYS:
        return f"{integer(field.type)} {name}[{field.type.count}]"
    return f"{integer(field.type)} {name}"
