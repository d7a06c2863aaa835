# SPDX-License-Identifier: MIT
"""Runs into files and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import far_end
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from far_end import FarEnd, a_run, started, stopped
from hypothesis import given, settings
from hypothesis import strategies as st
from records import layout, number, record, site, size_of

import kpmagic
from kpmagic import recorded
from kpmagic.arrow import from_arrow
from kpmagic.batches import pack, unpack
from kpmagic.connection import Connection
from kpmagic.errors import CellError, RecordingError, TargetError
from kpmagic.frames import to_arrow, to_engine
from kpmagic.model import Aggregate, CType, Layout
from kpmagic.past import KEY_DIGEST, KEY_FORMAT, KEY_RUN
from kpmagic.recording import Recording
from kpmagic.run import Run
from kpmagic.view.card import CARD

ENGINES = ("pandas", "polars", "arrow")
HITS = Aggregate("kp_a0", "hits", "count")


@pytest.fixture
def far() -> Any:
    end = FarEnd({"start": started, "stop": stopped})
    with Connection(end) as connection:
        connection.wait_for_hello()
        yield end, connection


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
                   "error", "name", "options", "info"):  # fmt: skip
        assert getattr(other, member) == getattr(one, member), member
    assert str(other) == str(one)
    assert other._repr_html_() == one._repr_html_()


def test_a_loaded_run_is_the_saved_one(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1, 2, 3)
    path = run.save(tmp_path / "run.parquet")
    loaded = kpmagic.load(path)
    assert isinstance(loaded, Run)
    same(run, loaded)
    assert loaded.aggregates["hits"]["count"].tolist() == [7]
    assert loaded.workload is not None
    assert (loaded.workload.exit_code, loaded.workload.stdout) == (4, "a\n")
    assert loaded.plan == run.plan
    assert list(tmp_path.iterdir()) == [path]
