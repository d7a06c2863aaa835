# SPDX-License-Identifier: MIT
"""Layouts agree with what numpy, and so a C compiler, makes of the same fields."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kpmagic import layout
from kpmagic.record import HEADER_FIELDS, HEADER_SIZE, CType

_TYPES = st.one_of(
    st.builds(CType, st.just("int"), st.sampled_from([1, 2, 4, 8]), st.booleans()),
    st.just(CType("bool", 1)),
    st.just(CType("pointer", 8)),
    st.builds(CType, st.just("enum"), st.just(4), st.booleans()),
    st.builds(CType, st.just("string"), st.integers(1, 64)),
    st.builds(
        lambda size, count: CType("array", size * count, count=count),
        st.sampled_from([1, 2, 4, 8]),
        st.integers(1, 5),
    ),
)
_CODES = {"__u8": "u1", "__u16": "u2", "__u32": "u4", "__u64": "u8", "__s8": "i1", "__s16": "i2",
          "__s32": "i4", "__s64": "i8"}  # fmt: skip


def as_numpy(ctype: CType) -> object:
    if ctype.kind == "string":
        return f"S{ctype.size}"
    code = _CODES[layout.integer(ctype)]
    return (code, (ctype.count,)) if ctype.kind == "array" else code


@given(st.lists(_TYPES, max_size=12))
def test_offsets_are_those_of_an_aligned_struct(types: list[CType]) -> None:
    named = [(f"f{number}", ctype) for number, ctype in enumerate(types)]
    placed = layout.place(named)
    expected = np.dtype([(name, as_numpy(ctype)) for name, ctype in named], align=True)  # type: ignore[misc]
    assert [field.offset for field in placed] == [expected.fields[n][1] for n, _ in named]  # type: ignore[index]


def test_the_header_is_laid_out_as_its_fields_say() -> None:
    again = layout.place((field.name, field.type) for field in HEADER_FIELDS)
    assert again == HEADER_FIELDS
    assert layout.end(HEADER_FIELDS) == HEADER_SIZE


def test_all_records_of_a_program_have_the_size_of_the_largest() -> None:
    small = layout.record(0, [("a", CType("int", 4))])
    large = layout.record(1, [("a", CType("int", 8)), ("b", CType("string", 17))])
    assert layout.record_size([small, large]) == HEADER_SIZE + 32
    assert layout.record_size([]) == HEADER_SIZE
