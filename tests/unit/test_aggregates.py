# SPDX-License-Identifier: MIT
"""Per-CPU maps → tables of aggregations."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpmagic.errors import RecordingError
from kpmagic.record import Aggregate, CType, Field
from kpmagic.rows.aggregates import decode_all, table

S64, U64 = CType("int", 8, True), CType("int", 8, False)
BY_COMM = (Field("comm", CType("string", 16), 0),)
INT64 = np.iinfo(np.int64)


def values(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<Qq", *pair) for pair in pairs)


def bucket(number: int, *counts: int, key: bytes = b"") -> bytes:
    return key + struct.pack("<ii", number, 0) + values(*((count, 0) for count in counts))


def shown(aggregate: Aggregate, data: bytes, cpus: int = 2) -> list[tuple[object, ...]]:
    return list(table(aggregate, data, cpus).itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("function", "ctype", "expected"),
    [
        ("count", None, 3), ("sum", S64, -2), ("avg", S64, -2 / 3), ("min", S64, -7),
        ("max", S64, 5), ("min", U64, 5), ("max", U64, (1 << 64) - 7), ("sum", U64, (1 << 64) - 2),
        ("avg", U64, ((1 << 64) - 2) / 3),
    ],
)  # fmt: skip
def test_the_cpus_are_put_together(function: str, ctype: CType | None, expected: float) -> None:
    # the third CPU saw nothing: its value must not take part
    data = bytes(8) + values((2, 5), (1, -7), (0, 0))
    found = shown(Aggregate("m", "x", function, value=ctype), data, cpus=3)
    assert found == [(expected,)]


@pytest.mark.parametrize(("function", "expected"), [("count", [(0,)]), ("sum", [(0,)]),
                                                    ("min", []), ("avg", [])])  # fmt: skip
def test_never_hit(function: str, expected: list[tuple[int]]) -> None:
    assert shown(Aggregate("m", "x", function, value=S64), b"") == expected


def test_a_stack_as_key_that_was_never_met() -> None:
    keys = (Field("stack", CType("kstack", 24, False, "unsigned long", 3), 0),)
    assert shown(Aggregate("m", "x", "count", keys, key_size=32), b"") == []


def test_keys_are_sorted_and_typed() -> None:
    keys = (*BY_COMM, Field("n", CType("int", 4, True), 16))
    aggregate = Aggregate("m", "x", "count", keys, key_size=24)
    data = b"".join(
        struct.pack("<16sii", comm, n, 0) + values((1, 0), (1, 0))
        for comm, n in [(b"b", 1), (b"a\0junk", 2), (b"a", -3)]
    )
    frame = table(aggregate, data, 2)
    assert list(frame.columns) == ["comm", "n", "count"]
    assert list(frame.itertuples(index=False, name=None)) == [("a", -3, 2), ("a", 2, 2),
                                                              ("b", 1, 2)]  # fmt: skip


def test_log2_buckets() -> None:
    hist = Aggregate("m", "x", "hist", BY_COMM, key_size=24, value=S64)
    key = b"a".ljust(16, b"\0")
    data = b"".join(bucket(b, 1, 2, key=key) for b in (4, 1, 0, -1, -2, 63, -63))
    assert shown(hist, data) == [
        ("a", 1 - (1 << 63), 1 - (1 << 62), 3),
        ("a", -3, -1, 3), ("a", -1, 0, 3), ("a", 0, 1, 3), ("a", 1, 2, 3), ("a", 8, 16, 3),
        ("a", 1 << 62, INT64.max, 3),
    ]  # fmt: skip


def test_the_last_bucket_of_unsigned_values() -> None:
    hist = Aggregate("m", "x", "hist", value=U64)
    assert shown(hist, bucket(64, 1, 0)) == [(1 << 63, (1 << 64) - 1, 1)]


@given(st.integers(INT64.min + 1, INT64.max))
def test_every_value_lies_in_its_bucket(value: int) -> None:
    number = abs(value).bit_length() * (-1 if value < 0 else 1)
    ((low, high, _),) = shown(Aggregate("m", "x", "hist", value=S64), bucket(number, 1), cpus=1)
    assert low <= value < high or (value == high == INT64.max)


def test_linear_buckets() -> None:
    lhist = Aggregate("m", "x", "lhist", value=S64, low=-10, high=10, step=8)
    data = b"".join(bucket(b, b + 1) for b in range(5))
    assert shown(lhist, data, cpus=1) == [
        (INT64.min, -10, 1), (-10, -2, 2), (-2, 6, 3), (6, 10, 4), (10, INT64.max, 5)]  # fmt: skip


def test_maps_lie_one_behind_the_other() -> None:
    both = [Aggregate("one", "count()", "count"), Aggregate("two", "hist(x)", "hist", value=S64)]
    index = [{"map": "two", "key_size": 8, "entries": 2}, {"map": "one", "key_size": 8,
                                                          "entries": 1}]  # fmt: skip
    blob = bucket(1, 1) + bucket(2, 2) + bytes(8) + values((5, 0))
    found = decode_all(both, index, blob, 1)
    assert list(found) == ["count()", "hist(x)"]
    assert found["count()"]["count"].tolist() == [5]
    assert found["hist(x)"]["count"].tolist() == [1, 2]


def test_a_damaged_blob() -> None:
    index = [{"map": "one", "key_size": 8, "entries": 2}]
    with pytest.raises(RecordingError, match="48 bytes, 24 came"):
        decode_all([Aggregate("one", "x", "count")], index, bytes(24), 1)
