# SPDX-License-Identifier: MIT
"""A finished run to be saved, and what it means that two runs are the same."""

from __future__ import annotations

from typing import Any

import far_end
import pandas as pd
from far_end import FarEnd, a_run

from kpmagic.record import Aggregate
from kpmagic.run import Run
from kpmagic.view.card import CARD

ENGINES = ("pandas", "polars", "arrow")
HITS = Aggregate("kp_a0", "hits", "count")


def finished(far: Any, *rows: int, **options: Any) -> Run:
    """A run with rows, a loss, a workload and an aggregate that its command has ended."""
    end, connection = far
    run = a_run(connection, aggregates=(HITS,), view=CARD, command="ls", **options).start()
    talk(end, run._life.number, *rows)
    assert run.wait(5)
    return run


def talk(end: FarEnd, at: int, *rows: int) -> None:
    end.rows(at, *rows)
    end.counters(at, hits=len(rows) + 3, rows=len(rows), dropped=3)
    end.say(far_end.wire.LOG, at, far_end.wire.pack_json({"stream": "stdout", "text": "a\n"}))
    end.say(far_end.wire.LOG, at, far_end.wire.pack_json({"stream": "agent", "text": "beware"}))
    blob = bytes(8) + (7).to_bytes(8, "little") + bytes(8)
    end.end(at, "while", blob, maps=[{"map": "kp_a0", "key_size": 8, "entries": 1}], missed=2,
            counters={"hits": len(rows) + 3, "rows": len(rows), "dropped": 3},
            workload={"exit_code": 4})  # fmt: skip


def same(one: Run, other: Run) -> None:
    """Both show the same."""
    for engine in ENGINES:
        assert other.df(engine).equals(one.df(engine)), engine
    pd.testing.assert_frame_equal(other.df(), one.df())
    assert list(other.aggregates) == list(one.aggregates)
    for label, table in one.aggregates.items():
        pd.testing.assert_frame_equal(other.aggregates[label], table)
    for member in ("stats", "workload", "source", "stopped_by", "state", "remarks", "losses",
                   "error", "name", "options"):  # fmt: skip
        assert getattr(other, member) == getattr(one, member), member
    assert {"addresses": {}, **other.info} == {"addresses": {}, **one.info}
    assert str(other) == str(one)
    assert other._repr_html_() == one._repr_html_()
