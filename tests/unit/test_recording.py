# SPDX-License-Identifier: MIT
"""Bytes of the ring buffer → tables."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import layout, number, record, site, size_of

from kpmagic.errors import CellError, MissingDependency, RecordingError
from kpmagic.record import CType
from kpmagic.rows import frames
from kpmagic.rows.programs import Programs
from kpmagic.rows.recording import Recording
from kpmagic.rows.stack_names import StackNames

U64, S64, S32, U8 = number(8), number(8, True), number(4, True), number(1)
BOOL = CType("bool", 1)
NAME = CType("string", 16)
PAIR = CType("array", 8, True, count=2)
COLOUR = CType("enum", 4, enumerators={0: "RED", 1: "GREEN"})
MIXED = layout(0, ("a", U64), ("b", S64), ("c", S32), ("d", BOOL), ("e", NAME), ("f", PAIR),
               ("g", COLOUR))  # fmt: skip

names = st.binary(max_size=16).map(lambda raw: raw.split(b"\0")[0])
rows = st.fixed_dictionaries({
    "a": st.integers(0, (1 << 64) - 1),
    "b": st.integers(-(1 << 63), (1 << 63) - 1),
    "c": st.integers(-(1 << 31), (1 << 31) - 1),
    "d": st.sampled_from([0, 1]),
    "e": names,
    "f": st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=2, max_size=2),
    "g": st.sampled_from([0, 1, 7]),
})  # fmt: skip


def text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(rows, max_size=8), max_size=4), names)
def test_what_goes_in_comes_out(batches, comm) -> None:
    size = size_of(MIXED)
    recording = Recording([MIXED], [site("f")], size, clock_offset=1000)
    for batch in batches:
        recording.feed(b"".join(
            record(MIXED, row, size=size, ts=at, pid=at + 2, tid=at + 3, cpu=1, comm=comm)
            for at, row in enumerate(batch)))  # fmt: skip
    given_rows = [row for batch in batches for row in batch]
    df = recording.df()
    assert recording.rows == len(df) == len(given_rows)
    assert list(df.columns) == ["time", "cpu", "pid", "tid", "comm", *"abcdefg"]
    for name in "abc":
        assert df[name].tolist() == [row[name] for row in given_rows]
    assert df["d"].tolist() == [bool(row["d"]) for row in given_rows]
    assert df["e"].tolist() == [text(row["e"]) for row in given_rows]
    assert [list(cell) for cell in df["f"]] == [row["f"] for row in given_rows]
    assert df["g"].tolist() == [{0: "RED", 1: "GREEN", 7: "7"}[row["g"]] for row in given_rows]
    assert df["comm"].tolist() == [text(comm)] * len(given_rows)
    times = [at + 1000 for batch in batches for at in range(len(batch))]
    assert df["time"].astype("int64").tolist() == times
    assert df["pid"].tolist() == [at - 998 for at in times]


def test_types_do_not_depend_on_there_being_rows() -> None:
    size = size_of(MIXED)
    empty = Recording([MIXED], [site("f")], size)
    full = Recording([MIXED], [site("f")], size)
    full.feed(record(MIXED, {"a": 1, "b": 1, "c": 1, "d": 1, "e": b"x", "f": [1, 2], "g": 1},
                     size=size))  # fmt: skip
    assert [str(kind) for kind in empty.df().dtypes] == [str(kind) for kind in full.df().dtypes]
    assert str(full.df()["time"].dtype) == "datetime64[ns]"
    assert str(full.df()["comm"].dtype) == "category"
    assert str(full.df()["a"].dtype) == "uint64"
    assert str(full.df()["c"].dtype) == "int32"
    assert pd.api.types.is_string_dtype(full.df()["e"])


def test_what_lies_behind_the_nul_does_not_count() -> None:
    one = layout(0, ("name", NAME))
    size = size_of(one)
    recording = Recording([one], [site("f")], size)
    for junk in (b"", b"\0junk", b"\0other"):
        recording.feed(record(one, {"name": b"etc" + junk}, size=size, comm=b"sh" + junk))
    df = recording.df()
    assert df["name"].tolist() == ["etc"] * 3
    assert list(df["comm"].cat.categories) == ["sh"]


def test_two_byte_strings_that_read_the_same_are_one_category() -> None:
    one = layout(0, ("n", U8))
    size = size_of(one)
    recording = Recording([one], [site("f")], size)
    recording.feed(b"".join(record(one, {"n": 1}, size=size, comm=comm)
                            for comm in (b"\xff", b"\\xff", b"\xc3\xa9")))  # fmt: skip
    assert recording.df()["comm"].tolist() == ["\\xff", "\\xff", "é"]


def two_layouts() -> Recording:
    first = layout(0, ("a", U64), ("both", S32), ("name", NAME))
    second = layout(1, ("b", BOOL), ("both", U64))
    size = size_of(first, second)
    recording = Recording([first, second], [site("f"), site("g", 5), site("f")], size)
    recording.feed(
        record(first, {"a": 1 << 63, "both": -1, "name": b"x"}, size=size, site=0)
        + record(second, {"b": 1, "both": 1 << 63}, size=size, site=1)
    )
    recording.feed(record(first, {"a": 2, "both": 3, "name": b"y"}, size=size, site=2))
    return recording


def test_rows_of_two_layouts_stay_in_order_with_holes() -> None:
    df = two_layouts().df()
    assert df["a"].isna().tolist() == [False, True, False]
    assert df["a"].dropna().tolist() == [1 << 63, 2]
    assert str(df["a"].dtype) == "UInt64"
    assert str(df["b"].dtype) == "boolean"
    assert df["b"].isna().tolist() == [True, False, True]
    assert df["both"].tolist() == [-1, 1 << 63, 3]
    assert df["name"].dropna().tolist() == ["x", "y"]
    assert df["probe"].tolist() == ["f", "g+0x5", "f"]
    assert str(df["probe"].dtype) == "category"


def test_no_holes_where_every_row_has_the_column() -> None:
    first, second = layout(0, ("n", S32)), layout(1, ("n", S32), ("m", S32))
    size = size_of(first, second)
    recording = Recording([first, second], [site("f")], size)
    recording.feed(record(second, {"n": 1, "m": 2}, size=size))
    assert [str(kind) for kind in recording.df()[["n", "m"]].dtypes] == ["int32", "int32"]
    assert "probe" not in recording.df()


def test_the_engines_agree() -> None:
    recording = two_layouts()
    arrow, polars, pandas = (recording.df(engine) for engine in ("arrow", "polars", "pandas"))
    assert arrow.column_names == polars.columns == list(pandas.columns)
    assert arrow.num_rows == polars.height == len(pandas)
    assert arrow["a"].to_pylist() == polars["a"].to_list() == [1 << 63, None, 2]
    assert [int(each) for each in polars["both"].to_list()] == pandas["both"].tolist()
    assert polars["comm"].to_list() == ["sh"] * 3


def test_unknown_engine() -> None:
    with pytest.raises(CellError, match="no engine 'dask'"):
        two_layouts().df("dask")


def test_polars_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(frames.importlib, "import_module", refuse)
    with pytest.raises(MissingDependency) as caught:
        two_layouts().df("polars")
    assert "pip install" in str(caught.value)


def test_only_whole_records() -> None:
    recording = two_layouts()
    with pytest.raises(RecordingError, match="not whole records"):
        recording.feed(b"\0" * (recording.stride - 1))
    assert recording.rows == 3


def test_the_head_is_the_beginning() -> None:
    recording = two_layouts()
    pd.testing.assert_frame_equal(recording.head(3), recording.df())
    assert recording.head(1)["a"].tolist() == [1 << 63]
    assert recording.head(2)["both"].tolist() == [-1, 1 << 63]
    assert len(recording.head(0)) == 0


def test_writing_to_a_frame_leaves_the_recording_alone() -> None:
    recording = two_layouts()
    df = recording.df()
    df.loc[0, "cpu"] = 77
    df["pid"] += 1
    assert recording.df()["cpu"].tolist() == [0, 0, 0]
    assert recording.df()["pid"].tolist() == [1, 1, 1]


def test_a_frame_grows_with_the_recording() -> None:
    recording = two_layouts()
    assert len(recording.df()) == 3
    recording.feed(record(recording.layouts[1], {"b": 0, "both": 9}, size=recording.record_size))
    assert recording.df()["both"].tolist() == [-1, 1 << 63, 3, 9]


def test_reading_while_it_is_fed() -> None:
    one = layout(0, ("n", U64))
    size = size_of(one)
    recording = Recording([one], [site("f")], size)
    batch = b"".join(record(one, {"n": at}, size=size) for at in range(50))
    feeder = threading.Thread(target=lambda: [recording.feed(batch) for _ in range(200)])
    feeder.start()
    while feeder.is_alive():
        df = recording.df()
        assert len(df) % 50 == 0
        assert (df["n"].to_numpy() == np.arange(len(df)) % 50).all()
    feeder.join()
    assert len(recording.df()) == 10_000


def test_memory_of_a_million_rows() -> None:
    three = layout(0, ("a", U64), ("b", S64), ("c", U64))
    size = size_of(three)
    recording = Recording([three], [site("f")], size)
    batch = record(three, {"a": 1, "b": 2, "c": 3}, size=size) * 4000
    recording.feed(batch)  # what the libraries allocate once is not the rows'
    recording.df()
    recording = Recording([three], [site("f")], size)
    tracemalloc.start()
    for _ in range(250):
        recording.feed(batch)
    df = recording.df()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(df) == 1_000_000
    assert peak < 2 * df.memory_usage(index=False).sum()


@pytest.mark.parametrize("shapes", [1, 2])
def test_rows_come_in_while_stacks_get_their_names(shapes: int) -> None:
    """A name may be read from the target, and the answer comes behind the rows."""
    stack = CType("ustack", 16, False, "unsigned long", 2)
    shape = layout(0, ("stack", stack))
    layouts = [shape, layout(1, ("n", U64))][:shapes]
    size = size_of(*layouts)
    row = record(layout(0, ("stack", CType("array", 16, False, count=2))), {"stack": [7, 0x1000]},
                 size=size)  # fmt: skip

    def ask(pid: int, address: int, program: int) -> str:
        reader = threading.Thread(target=recording.feed, args=(row,), daemon=True)
        reader.start()
        reader.join(5)
        return "late" if reader.is_alive() else "read"

    recording = Recording(layouts, [site("f")], size, names=StackNames(ask))
    recording.feed(row)
    assert recording.df()["stack"].tolist() == [["read"]]
    assert recording.rows == 2


@pytest.mark.parametrize("others", [0, 1])
def test_stacks_have_the_names_of_their_time(others: int) -> None:
    """Process 7 was another program before 20; of rows of several shapes each has its own time."""
    shape = layout(0, ("stack", CType("ustack", 16, False, "unsigned long", 2)))
    second = layout(1, ("other", CType("ustack", 16, False, "unsigned long", 2)))
    packed = CType("array", 16, False, count=2)
    layouts = [shape, *[second] * others]
    size = size_of(*layouts)
    names = StackNames(lambda pid, address, program: f"{program}", programs=lambda: Programs(
        {7: [0, 20]}))  # fmt: skip
    recording = Recording(layouts, [site("f")], size, 1000, names)
    for ts in (25, 5, 20, 19):
        if others:
            recording.feed(record(layout(1, ("other", packed)), {"other": [7, 0x1000]}, size=size,
                                  ts=45 - ts))  # fmt: skip
        recording.feed(record(layout(0, ("stack", packed)), {"stack": [7, 0x1000]}, size=size,
                              ts=ts))  # fmt: skip
    df = recording.df()
    assert df["stack"].dropna().tolist() == [["2"], ["1"], ["2"], ["1"]]
    if others:
        assert df["other"].dropna().tolist() == [["2"], ["2"], ["2"], ["2"]]
        assert recording.head(1)["stack"].isna().all()
