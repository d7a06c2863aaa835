# SPDX-License-Identifier: MIT
"""What lies in a record and in a key: fields of C types, each at its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class CType:
    """A C type as a column can hold it.

    ``kind`` is ``int``, ``bool``, ``enum``, ``pointer`` (shown as a number), ``string`` (NUL-ended,
    in ``size`` bytes), ``array`` (of ``count`` elements of ``size // count`` bytes), ``kstack`` or
    ``ustack`` (of ``count`` words: addresses, the innermost first, 0 behind the last; a ustack's
    first word is the process id), or ``errno`` (a number that is shown as an error's name).
    ``name`` is the C spelling, ``enumerators`` value → name for an enum.
    """

    kind: Literal["int", "bool", "enum", "pointer", "string", "array", "kstack", "ustack", "errno"]
    size: int
    signed: bool = False
    name: str = ""
    count: int = 1
    enumerators: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Field:
    """One column of a record: a name, a type, and ``offset`` bytes from the record's start."""

    name: str
    type: CType
    offset: int = 0


@dataclass(frozen=True)
class Layout:
    """One shape of record: the fields an ``emit`` writes behind the common header.

    ``row`` is the number the record's header carries. All layouts of a program share one slot
    size in the ring buffer, so that no step from kernel to column needs a loop over records.
    """

    row: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Aggregate:
    """One aggregation: its BPF map, its keys and how to show it.

    ``function`` is count, sum, avg, min, max, hist or lhist. The map's key is the ``keys`` fields
    at their offsets, for a histogram followed by the bucket (``s32`` at ``key_size - 8``).
    The map's value, one per CPU, is ``u64 n; s64 v``.
    ``low``, ``high``, ``step`` belong to lhist; ``value`` is the type of the aggregated value.
    """

    map: str
    label: str
    function: str
    keys: tuple[Field, ...] = ()
    key_size: int = 8
    value: CType | None = None
    low: int = 0
    high: int = 0
    step: int = 1


# The header every record starts with; struct kp_header of bpf/record.h.
HEADER_FIELDS: tuple[Field, ...] = (
    Field("ts", CType("int", 8, False, "u64"), 0),
    Field("pid", CType("int", 4, False, "u32"), 8),
    Field("tid", CType("int", 4, False, "u32"), 12),
    Field("cpu", CType("int", 4, False, "u32"), 16),
    Field("site", CType("int", 2, False, "u16"), 20),
    Field("row", CType("int", 2, False, "u16"), 22),
    Field("comm", CType("string", 16, False, "char[16]"), 24),
)
HEADER_SIZE = 40
