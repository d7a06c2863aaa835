# SPDX-License-Identifier: MIT
"""The numbers of a run balance while it runs, whichever of rows and counters came first."""

from __future__ import annotations

import pytest
from far_end import FarEnd, a_run, started

from kpmagic.channel.connection import Connection
from kpmagic.model import Options, Probe, Spec
from kpmagic.result import emits
from kpmagic.stats import Stats, account


def adds_up(stats: Stats) -> bool:
    calls = (stats.unpaired or 0) + (stats.in_flight or 0)
    return stats.balanced and (not stats.is_return or stats.entries == stats.hits + calls)


@pytest.mark.parametrize("rows", [0, 3, 5, 9])
@pytest.mark.parametrize("emits", ["one", "some", "many"])
def test_while_it_runs_rows_and_counters_come_apart(rows: int, emits: str) -> None:
    counters = {"hits": 8, "rows": 5, "filtered": 2, "dropped": 1, "entries": 12, "unpaired": 1}
    stats = account(counters, rows, over=False, is_return=True, emits=emits)  # type: ignore[arg-type]
    assert adds_up(stats)
    assert (stats.hits, stats.rows, stats.in_flight) == (rows + 3, rows, 3)


def test_counters_read_while_a_handler_runs() -> None:
    counters = {"hits": 8, "rows": 5, "filtered": 2}  # the eighth hit's row is not counted yet
    assert account(counters, 5, over=False, emits="one").balanced
    counters = {"hits": 6, "rows": 5, "filtered": 2}
    assert account(counters, 5, over=False, emits="some").balanced


def test_hits_without_a_row_and_with_two_are_what_was_counted() -> None:
    assert account({"hits": 100, "rows": 5}, 4, over=False, emits="some").hits == 99
    assert account({"hits": 100, "rows": 200}, 150, over=False, emits="many").hits == 100
    assert account({"hits": 3}, 0, over=False, emits="some").hits == 3


def test_calls_that_a_lost_target_has_not_judged_are_in_flight() -> None:
    counters = {"hits": 2, "rows": 2, "entries": 7, "unpaired": 1}
    stats = account(counters, 3, over=True, is_return=True)
    assert adds_up(stats)
    assert (stats.hits, stats.entries, stats.in_flight) == (3, 8, 4)


@pytest.mark.parametrize(("body", "layouts", "found"), [
    (None, 1, "one"), ("emit(a = 1);", 1, "one"), ("count();", 0, "some"),
    ("if (retval) emit(retval);", 1, "some"), ("if (a) emit(a); else emit(b);", 2, "many"),
    ("u64 x = a && b; emit(x);", 1, "some"),
])  # fmt: skip
def test_a_body_shows_how_many_rows_a_hit_has(body: str | None, layouts: int, found: str) -> None:
    probe = Probe("kprobe", (Spec("vfs_read", "vfs_read"),), body)
    assert emits(probe, layouts) == found
    hidden = Probe("kprobe", (), body, Options(defines=(("a", "if (b)"),)))
    assert emits(hidden, 1) == "some"


def test_a_live_run_balances() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.counters(run, hits=2, rows=1, filtered=1)
        end.rows(run, 1, 2, 3)

    with Connection(FarEnd({"start": start})) as connection:
        connection.wait_for_hello()
        run = a_run(connection).start()
        while run.stats.rows < 3:
            run.wait(0.01)
        assert run.state == "running"
        assert (run.stats.hits, run.stats.filtered, run.stats.balanced) == (4, 1, True)
        connection.close()
