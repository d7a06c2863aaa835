# SPDX-License-Identifier: MIT
"""The records of BTF, as linux/Documentation/bpf/btf.rst lays them out.

Nothing is decoded before it is asked for: an index of where each type begins is enough.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kpmagic.errors import TargetError

_HEADER_LENGTH = 24
_MAGIC = 0xEB9F
_END = b"\0"


class Kind(IntEnum):
    """``enum`` of include/uapi/linux/btf.h."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# 32-bit words behind the three of struct btf_type: always, and for each of vlen elements
_FIXED = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_EACH = {Kind.STRUCT: 3, Kind.UNION: 3, Kind.ENUM: 2, Kind.FUNC_PROTO: 2, Kind.DATASEC: 3,
         Kind.ENUM64: 3}  # fmt: skip


# C has one namespace for tags and one for typedefs
_NAMESPACES = ((Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64), (Kind.TYPEDEF,))


@dataclass(frozen=True, slots=True)
class Type:
    """One ``struct btf_type``; ``value`` is its size in bytes or the id of the type it is about.

    ``flag`` is the kind flag: bitfields in a struct, signed values in an enum, a union in a FWD.
    ``extra`` are the elements behind it, a tuple of words each.
    """

    id: int
    kind: Kind
    name: str
    value: int
    flag: bool = False
    extra: tuple[tuple[int, ...], ...] = ()


VOID = Type(0, Kind.VOID, "", 0)


def bad(what: str) -> TargetError:
    """Return the error for BTF that cannot be read."""
    return TargetError(
        f"the kernel's type information (BTF) cannot be read: {what}",
        hint="%kp doctor checks the target; another kernel may be chosen with --kernel",
    )


class Types:
    """The types of one BTF blob by id; ids below those of a split BTF are its ``base``'s."""

    def __init__(self, data: bytes, base: Types | None = None) -> None:
        """Index ``data``. Raises TargetError for what is not BTF or newer than this kpmagic."""
        words, self._strings = _sections(data)
        self._base = base
        self._first = len(base) if base else 1
        self._first_string = base.string_end if base else 0
        self._at = _index(words)
        self._words = words
        self._names = words[self._at]
        self._kinds = (words[self._at + 1] >> 24) & 0x1F
        self._types: dict[int, Type] = {}

    def __len__(self) -> int:
        """Return the number of type ids, void (0) among them."""
        return self._first + len(self._at)

    @property
    def string_end(self) -> int:
        """The first string offset that is not in this BTF."""
        return self._first_string + len(self._strings)

    def type(self, type_id: int) -> Type:
        """Return the type ``type_id``. Raises TargetError."""
        if type_id == 0:
            return VOID
        if self._base and type_id < self._first:
            return self._base.type(type_id)
        found = self._types.get(type_id)
        if found is None:
            found = self._types[type_id] = self._decode(type_id)
        return found

    def is_own(self, type_id: int) -> bool:
        """Say whether a type is this BTF's, and not its base's."""
        return type_id >= self._first

    def string(self, offset: int) -> str:
        """Return the string at ``offset``. Raises TargetError."""
        if self._base and offset < self._first_string:
            return self._base.string(offset)
        start = offset - self._first_string
        if not 0 <= start < len(self._strings):
            raise bad(f"no string at offset {offset}")
        # the section ends in NUL
        return self._strings[start : self._strings.index(_END, start)].decode("utf-8", "replace")

    def find(self, name: str, *kinds: Kind) -> list[int]:
        """Return the ids of the types of ``kinds`` called ``name``, lowest first."""
        found = self._base.find(name, *kinds) if self._base else []
        named = np.isin(self._names, self._offsets(name)) & np.isin(self._kinds, kinds)
        return found + [int(i) + self._first for i in np.flatnonzero(named)]

    def names(self, *kinds: Kind) -> list[str]:
        """Return the names of all types of ``kinds``, in order of id, unnamed ones left out."""
        names = self._base.names(*kinds) if self._base else []
        offsets = self._names[np.isin(self._kinds, kinds)]
        return names + [self.string(o) for o in offsets[offsets != 0].tolist()]

    def named(self, *kinds: Kind) -> Iterator[tuple[int, str]]:
        """Yield id and name of all types of ``kinds`` that have a name."""
        if self._base:
            yield from self._base.named(*kinds)
        for index in np.flatnonzero(np.isin(self._kinds, kinds) & (self._names != 0)).tolist():
            yield index + self._first, self.string(int(self._names[index]))

    def is_namesake(self, type_id: int) -> bool:
        """Say whether an earlier type has the same name in C: then C's name is that one's.

        Two drivers may each have a ``struct controller``; bpftool calls the second
        ``controller___2``.
        """
        return type_id in self._namesakes

    @cached_property
    def _namesakes(self) -> frozenset[int]:
        found = set(self._base._namesakes) if self._base else set()
        for kinds in _NAMESPACES:
            here = np.flatnonzero(np.isin(self._kinds, kinds) & (self._names != 0))
            first = here[np.unique(self._names[here], return_index=True)[1]]
            found.update((np.setdiff1d(here, first) + self._first).tolist())
        return frozenset(found)

    def _offsets(self, name: str) -> list[int]:
        """Return where in the strings ``name`` is; it may also be the end of a longer string."""
        pattern = re.escape(name.encode("utf-8", "surrogatepass") + _END)
        found = self._base._offsets(name) if self._base else []
        if not name:
            return []
        matches = re.finditer(pattern, self._strings)
        return found + [m.start() + self._first_string for m in matches]

    def _decode(self, type_id: int) -> Type:
        index = type_id - self._first
        if not 0 <= index < len(self._at):
            raise bad(f"no type {type_id}")
        at = int(self._at[index])
        name, info, value = self._words[at : at + 3].tolist()
        kind = Kind((info >> 24) & 0x1F)
        extra = _extra(self._words, at + 3, kind, info & 0xFFFF)
        return Type(type_id, kind, self.string(name), value, bool(info >> 31), extra)


Words = npt.NDArray[np.int64]


def _sections(data: bytes) -> tuple[Words, bytes]:
    """Return the words of the type section, and the string section."""
    if len(data) < _HEADER_LENGTH:
        raise bad(f"it has only {len(data)} bytes")
    order = "<" if data[:2] == _MAGIC.to_bytes(2, "little") else ">"
    magic, version, _, length = struct.unpack_from(order + "HBBI", data)
    if magic != _MAGIC or version != 1:
        raise bad(f"it begins with {data[:4].hex()}, not with 9feb01")
    type_at, type_length, string_at, string_length = struct.unpack_from(order + "4I", data, 8)
    type_at, string_at = type_at + length, string_at + length
    end = max(type_at + type_length, string_at + string_length)
    if end > len(data) or type_length % 4 or length < _HEADER_LENGTH:
        raise bad(f"its header speaks of {end} bytes, there are {len(data)}")
    words = np.frombuffer(data, order + "u4", type_length // 4, type_at).astype(np.int64)
    strings = bytes(data[string_at : string_at + string_length])
    if not strings.endswith(_END):
        raise bad("its strings do not end")
    return words, strings


def _index(words: Words) -> Words:
    """Return the position of each type's first word."""
    total = len(words)
    lengths = _lengths(words).tolist()
    starts = []
    at = 0
    while at < total:
        starts.append(at)
        at += lengths[at]
    if at != total:
        _explain(words, starts)
    return np.array(starts, dtype=np.int64)


def _lengths(words: Words) -> Words:
    """Return how many words a type would have that began at each word."""
    fixed = np.zeros(32, dtype=np.int64)
    each = np.zeros(32, dtype=np.int64)
    fixed[max(Kind) + 1 :] = len(words)  # an unknown kind has no known end
    for kind, count in _FIXED.items():
        fixed[kind] = count
    for kind, count in _EACH.items():
        each[kind] = count
    info = np.append(words[1:], 0)
    kinds = (info >> 24) & 0x1F
    lengths: Words = 3 + fixed[kinds] + each[kinds] * (info & 0xFFFF)
    return lengths


def _explain(words: Words, starts: list[int]) -> None:
    """Raise the TargetError for types that do not end where their section does."""
    last = starts[-1]
    kind = int(words[last + 1] >> 24) & 0x1F if last + 1 < len(words) else 0
    if kind > max(Kind):
        raise bad(f"type {len(starts)} is of kind {kind}, newer than this kpmagic knows")
    raise bad(f"type {len(starts)} is cut off")


def _extra(words: Words, at: int, kind: Kind, count: int) -> tuple[tuple[int, ...], ...]:
    """Return what follows a ``struct btf_type`` of ``kind``, ``count`` being its vlen."""
    width = _EACH.get(kind, 0)
    if not width:
        width, count = _FIXED.get(kind, 0), 1
    if not width:
        return ()
    rows = words[at : at + width * count].reshape(count, width).tolist()
    return tuple(map(tuple, rows))
