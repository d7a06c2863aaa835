# SPDX-License-Identifier: MIT
"""Addresses of stacks to names, in rows and in aggregates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kpmagic.record import Aggregate, CType, Field
from kpmagic.rows.aggregates import remarks, table
from kpmagic.rows.programs import Programs
from kpmagic.rows.stack_names import StackNames, Walks, depth, walks

FUNCTIONS = {0x1000: "leaf", 0x2000: "middle", 0x3000: "root", 0x4000: "never_returns"}
KSTACK = CType("kstack", 24, False, "unsigned long", 3)


def look_up(pid: int, address: int, program: int = 1) -> str:
    name = FUNCTIONS.get(address & ~0xFFF, "")
    return f"{name}@{pid}" if pid and name else name


def stacks(*rows: tuple[int, int, int]) -> np.ndarray:
    return np.array(rows, np.uint64)


def test_names_are_innermost_first() -> None:
    names = StackNames(look_up)
    found = names.lists("kstack", stacks((0x1001, 0x2010, 0x3005), (0x1004, 0, 0), (0, 0, 0)))
    assert found.to_pylist() == [["leaf", "middle", "root"], ["leaf"], []]


def test_a_return_address_belongs_to_the_call_before_it() -> None:
    found = StackNames(look_up).lists("kstack", stacks((0x3000, 0x5000, 0x1010)))
    assert found.to_pylist() == [["root", "never_returns", "leaf"]]


def test_an_unknown_address_stays_one_and_zeros_in_between_end_a_stack() -> None:
    found = StackNames(look_up).lists("kstack", stacks((0x9000, 0, 0x1000)))
    assert found.to_pylist() == [["0x9000"]]


def test_a_user_stack_has_its_process_in_front() -> None:
    found = StackNames(look_up).lists("ustack", stacks((7, 0x1000, 0x2001), (8, 0x1000, 0)))
    assert found.to_pylist() == [["leaf@7", "middle@7"], ["leaf@8"]]


def test_what_was_named_once_is_known() -> None:
    known: dict[str, str] = {}
    StackNames(look_up, known).lists("kstack", stacks((0x1001, 0x2010, 0)))
    again = StackNames(known=known).folded("kstack", stacks((0x1001, 0x2010, 0)))
    assert again.to_pylist() == ["middle;leaf"]


def test_a_library_may_have_a_name_that_is_no_text() -> None:
    names = StackNames(lambda *_: "[lib\udcff.so]")
    assert names.lists("ustack", stacks((7, 0x1000, 0))).to_pylist() == [["[lib\\udcff.so]"]]
    assert names.folded("ustack", stacks((7, 0x1000, 0))).to_pylist() == ["[lib\\udcff.so]"]


def of_program(pid: int, address: int, program: int) -> str:
    """A process 7 that was dash, then cat, whose second page was dash's alone."""
    if address >= 0x2000:
        return "dash_only" if program == 1 else ""
    return ("dash", "cat")[program - 1]


def were_two() -> Programs:
    return Programs({7: [10, 20], 9: [15, 25]})


def test_a_stack_has_the_names_of_the_program_of_its_time() -> None:
    names = StackNames(of_program, programs=were_two)
    taken = stacks((7, 0x1000, 0), (7, 0x1000, 0), (8, 0x1000, 0), (7, 0x1000, 0), (9, 0x1000, 0))
    found = names.lists("ustack", taken, np.array([5, 19, 30, 20, 24]))
    assert found.to_pylist() == [["dash"], ["dash"], ["dash"], ["cat"], ["dash"]]
    assert sorted(names.known) == ["7.1:1000", "7.2:1000", "8:1000", "9.1:1000"]
    assert names.remarks() == []


def test_names_that_are_known_stay_when_the_process_becomes_another_program() -> None:
    now = [Programs()]
    names = StackNames(of_program, programs=lambda: now[0])
    early, late = stacks((7, 0x1000, 0)), stacks((7, 0x1000, 0), (7, 0x1000, 0))
    assert names.lists("ustack", early, np.array([11])).to_pylist() == [["dash"]]
    assert names.folded("ustack", early).to_pylist() == ["dash"]
    now[0] = were_two()
    assert names.lists("ustack", late, np.array([11, 21])).to_pylist() == [["dash"], ["cat"]]
    assert names.folded("ustack", early).to_pylist() == ["cat"]


def test_without_a_time_the_newest_program_that_has_an_address_is_meant() -> None:
    names = StackNames(of_program, programs=were_two)
    keys = stacks((7, 0x1000, 0x2001), (8, 0x1000, 0), (7, 0x2000, 0))
    assert names.folded("ustack", keys).to_pylist() == ["dash_only;cat", "dash", "dash_only"]
    (said,) = names.remarks()
    assert said.startswith("1 address in stacks that are keys was of several programs")
    again = StackNames(known=names.known)  # as who loads it: without programs
    assert again.folded("ustack", keys).to_pylist() == ["dash_only;cat", "dash", "dash_only"]


def test_what_a_program_maps_later_is_no_address_for_ever() -> None:
    there: list[str] = [""]
    names = StackNames(lambda pid, address, program: there[0], programs=were_two)
    taken = stacks((7, 0x1000, 0))
    assert names.lists("ustack", taken, np.array([21])).to_pylist() == [["0x1000"]]
    there[0] = "cat"
    assert names.lists("ustack", taken, np.array([21])).to_pylist() == [["cat"]]


def test_programs_are_told_by_pid_and_time() -> None:
    random = np.random.default_rng(5)
    began = {int(pid): np.sort(random.integers(0, 50, random.integers(2, 6))).tolist()
             for pid in random.choice(40, 15, replace=False)}  # fmt: skip
    pids, times = random.integers(0, 45, 2000).astype(np.uint64), random.integers(-5, 60, 2000)
    expected = [max(1, sum(moment <= time for moment in began[pid])) if pid in began else 0
                for pid, time in zip(pids.tolist(), times.tolist(), strict=True)]  # fmt: skip
    assert Programs(began).numbers(pids, times).tolist() == expected
    assert Programs().numbers(pids, times).tolist() == [0] * 2000
    assert {pid: Programs(began).count(pid) for pid in range(45)} == {
        pid: len(began.get(pid, [])) for pid in range(45)
    }


def test_no_stacks_are_an_empty_column() -> None:
    assert len(StackNames(look_up).lists("kstack", np.empty((0, 3), np.uint64))) == 0
    assert len(StackNames(look_up).folded("kstack", np.empty((0, 3), np.uint64))) == 0


def entry(stack: tuple[int, int, int], *cpus: tuple[int, int], bucket: int = 0) -> bytes:
    words = np.array([*stack, bucket], np.uint64).tobytes()
    return words + np.array(cpus, "<i8").tobytes()


@pytest.mark.parametrize(
    ("function", "expected"), [("count", 6), ("sum", 26), ("avg", 26 / 6), ("min", 1), ("max", 9)]
)
def test_two_places_of_one_call_are_one_row(function: str, expected: float) -> None:
    value = None if function == "count" else CType("int", 8, True)
    made = Aggregate("m", "l", function, (Field("by", KSTACK, 0),), 32, value)
    extreme = {"min": (2, 5, 1, 9), "max": (2, 5, 1, 9)}.get(function, (6, 5, 6, 9))
    data = (
        entry((0x1001, 0x2010, 0), (2, extreme[0]), (1, extreme[1]))
        + entry((0x1001, 0x2020, 0), (2, extreme[2]), (1, extreme[3]))
        + entry((0x1001, 0x3020, 0), (1, 4), (0, 0))
    )
    frame = table(made, data, 2, StackNames(look_up))
    assert frame.by.tolist() == ["middle;leaf", "root;leaf"]
    assert frame.iloc[0, 1] == pytest.approx(expected)
    assert frame.iloc[1, 1] == (1 if function == "count" else 4)


def test_buckets_of_one_stack_are_merged() -> None:
    made = Aggregate("m", "l", "hist", (Field("by", KSTACK, 0),), 32, CType("int", 8, True))
    data = (
        entry((0x1001, 0x2010, 0), (2, 0), bucket=1)
        + entry((0x1001, 0x2020, 0), (3, 0), bucket=1)
        + entry((0x1001, 0x2020, 0), (4, 0), bucket=3)
    )
    frame = table(made, data, 1, StackNames(look_up))
    expected = pd.DataFrame({"low": [1, 4], "high": [2, 8], "count": [5, 4]})
    pd.testing.assert_frame_equal(frame[["low", "high", "count"]], expected)


def test_stacks_that_are_not_there_are_counted() -> None:
    rows = stacks((0, 0, 0), (0x1000, 0, 0), (0x1000, 0x2000, 0x3000))
    assert walks("kstack", rows) == Walks(3, 1, 1)
    assert walks("ustack", rows) == Walks(3, 2, 1)
    assert walks("kstack", rows[:0]) == Walks()
    assert Walks(3, 1, 1) + Walks(2, 0, 2) == Walks(5, 1, 3)


def test_what_is_said_of_them() -> None:
    asked = CType("kstack", 24, False, "kstack(3)", 3)
    default = CType("kstack", 512, False, "kstack()", 64)
    assert Walks(3, 0, 3).remarks("s", asked) == []
    assert Walks(3, 0, 3).remarks("s", default) == [
        "s: 3 of 3 stacks are cut at 64 frames; kstack(127) has room for more"
    ]
    user = CType("ustack", 520, False, "ustack()", 65)
    (said,) = Walks(2000, 1500, 0).remarks("u", user)
    assert said.startswith("u: 1,500 of 2,000 stacks are empty")
    assert depth(user) == 64


def test_an_aggregate_says_how_many_hits_had_no_stack() -> None:
    key = Field("by", CType("kstack", 24, False, "kstack()", 3), 0)
    counted = Aggregate("m", "count(by = kstack())", "count", (key,), 32)
    shown = pd.DataFrame({"by": pd.Categorical(["", "a;b", "a;b;c"]), "count": [5, 2, 1]})
    empty, cut = remarks(counted, shown)
    assert empty.startswith("count(by = kstack()): by: 5 of 8 stacks are empty")
    assert "1 of 8 stacks are cut at 3 frames" in cut


@pytest.mark.parametrize("kind", ["kstack", "ustack"])
@pytest.mark.parametrize("count", [0, 2])
def test_none_and_empty_ones(kind: str, count: int) -> None:
    names, empty = StackNames(look_up), np.zeros((count, 4), np.uint64)
    assert names.lists(kind, empty).to_pylist() == [[]] * count
    assert names.folded(kind, empty).to_pylist() == [""] * count
