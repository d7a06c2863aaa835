# SPDX-License-Identifier: MIT
"""A run's numbers add up whatever the programs saw."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kpmagic.agent import wire
from kpmagic.agent.balance import cut, settle

counts = st.integers(0, 1000)


@given(counts, counts, counts, counts, counts)
def test_entries_are_hits_unpaired_and_in_flight(
    entries: int, hits: int, overwritten: int, inside: int, missed: int
) -> None:
    hits = min(hits, entries)
    overwritten = min(overwritten, entries - hits)
    counters = dict.fromkeys(wire.COUNTERS, 0)
    counters |= {"entries": entries, "hits": hits, "unpaired": overwritten}
    settled, in_flight, remark = settle(counters, inside, missed)
    assert settled["entries"] == settled["hits"] + settled["unpaired"] + in_flight
    assert in_flight >= 0
    assert settled["unpaired"] >= 0
    assert bool(remark) == (hits + overwritten + inside + missed > entries)


def test_what_nobody_accounts_for_was_missed() -> None:
    counters = dict.fromkeys(wire.COUNTERS, 0) | {"entries": 10, "hits": 5, "unpaired": 1}
    settled, in_flight, remark = settle(counters, 1, 2)
    assert (settled["unpaired"], in_flight, remark) == (4, 1, "")


def test_rows_beyond_the_limit_were_no_hits() -> None:
    counters = {"hits": 12, "rows": 10, "filtered": 2, "sampled": 0, "dropped": 0}
    after = cut(counters | {"entries": 0, "unpaired": 0}, 3)
    assert (after["hits"], after["rows"], after["entries"]) == (9, 7, 0)
    after = cut(counters | {"entries": 13, "unpaired": 0}, 3)
    assert (after["hits"], after["entries"]) == (9, 10)
