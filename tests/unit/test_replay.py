# SPDX-License-Identifier: MIT
"""Recordings as a target."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from far_end import a_run
from saved import HITS, finished, same

import kpmagic
from kpmagic.answers import Answer, add, of_line
from kpmagic.channel.connection import Connection
from kpmagic.errors import CellError, RecordingError, TargetError
from kpmagic.kp.doctor import checks
from kpmagic.kp.stages import stage
from kpmagic.model import Options, Plan, Probe, Spec
from kpmagic.run import Run
from kpmagic.session import Session
from kpmagic.starting import start
from kpmagic.targets.replay import parse_speed
from kpmagic.view.card import CARD


def played(target: Connection, run: Run, **options: Any) -> Run:
    """Run the same cell on a replay."""
    chosen = {"command": run.options.command, **options}
    again = start(Probe("kprobe", run.plan.probe.specs, "emit(n);\n", Options(**chosen)), target)
    assert again.wait(10)
    return again


def alike(one: Run, other: Run) -> None:
    """The same Run, but for where it is."""
    for each in (one, other):
        each.info = {"left_out": [], **{name: each.info[name] for name in (
            "symbol", "address", "sites", "backend", "kernel_release", "note", "compiler",
            "started")}, "target": "t", "options": one.info["options"]}  # fmt: skip
    other.info["started"] = one.info["started"]
    other.options = one.options
    same(one, other)


def test_a_cell_gets_what_it_got(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1, 2, 3)
    run.info["attached_by"] = ["kprobe.multi"]
    path = run.save(tmp_path / "a.parquet")
    with kpmagic.connect(f"replay:{path}") as target:
        again = played(target, run)
        assert "on replay 6.1.0-test" in str(again)
        assert again.info["attached_by"] == ["kprobe.multi"]
        alike(run, again)
        assert again.workload is not None
        assert (again.workload.exit_code, again.workload.stdout) == (4, "a\n")
        assert again.losses == [(0, 3, 3)]
        assert again.save(tmp_path / "b.parquet").exists()
    assert kpmagic.load(tmp_path / "b.parquet").df().equals(run.df())


@pytest.mark.parametrize("before", [False, True])
def test_a_wildcard_that_is_one_function_has_its_probe_column(
    far: Any, tmp_path: Path, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In recordings from ``before`` there was none, and there is none when they are played."""
    if before:
        monkeypatch.setattr(Plan, "several", False)
    run = finished(far, 1, 2, symbol="vfs_re?d")
    assert ("probe" in run.df().columns) is not before
    if not before:
        assert run.df()["probe"].tolist() == ["vfs_re?d"] * 2
    path = run.save(tmp_path / "a.parquet")
    monkeypatch.undo()
    assert kpmagic.load(path).df().equals(run.df())
    with kpmagic.connect(f"replay:{path}") as target:
        assert played(target, run).df().equals(run.df())


def test_several_places_may_be_one(far: Any) -> None:
    run = a_run(far[1])
    assert not run.plan.several
    one = Spec("do_fork", "do_fork")
    twice = replace(run.plan, probe=replace(run.plan.probe, specs=(one, run.plan.sites[0].spec)))
    assert twice.several


def test_losses_stand_where_they_were(far: Any, tmp_path: Path) -> None:
    end, connection = far
    run = a_run(connection, view=CARD).start()
    at = run._life.number
    end.counters(at, dropped=1)
    end.rows(at, 1, 2)
    end.counters(at, dropped=1)
    end.rows(at, 3)
    end.counters(at, dropped=4)
    end.rows(at, 4, 5)
    end.counters(at, dropped=6)
    end.counters(at, dropped=7)
    end.rows(at, 6)
    end.end(at, "for", counters={"hits": 15, "rows": 6, "dropped": 9})
    assert run.wait(5)
    assert run.losses == [(0, 0, 1), (2, 3, 3), (3, 5, 2), (5, 5, 1), (5, 6, 2)]
    path = run.save(tmp_path / "a.parquet")
    for speed in ("full", "1000"):
        with kpmagic.connect(f"replay:{path}", speed=speed) as target:
            again = played(target, run)
            assert again.losses == run.losses
            alike(run, again)


def test_a_folder_answers_each_cell_in_its_turn(far: Any, tmp_path: Path) -> None:
    for name, rows in (("b", [1]), ("a", [2, 3])):
        run = finished(far, *rows)
        run.save(tmp_path / f"{name}.parquet")
    finished(far, 9, where="n > 3").save(tmp_path / "c.parquet")
    with kpmagic.connect(f"replay:{tmp_path}") as target:
        assert [played(target, run).df()["n"].tolist() for _ in range(3)] == [[1], [2, 3], [1]]
        assert played(target, run, where="n > 3").df()["n"].tolist() == [9]
        with pytest.raises(TargetError) as caught:
            played(target, run, where="n > 4")
        assert "no recording of kprobe vfs_read as this cell has it" in str(caught.value)
        assert "kprobe vfs_read {emit(n);} --while 'ls'" in str(caught.value)
        assert "%kp target sandbox" in caught.value.hint


def test_a_dry_run_shows_the_source_and_takes_no_turn(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1)
    run.save(tmp_path / "a.parquet")
    with kpmagic.connect(f"replay:{tmp_path}") as target:
        probe = Probe("kprobe", run.plan.probe.specs, "emit(n);", Options(command="ls",
                                                                         dry_run=True))
        assert start(probe, target).source == run.source


def test_no_speed_is_too_high(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1, 2, 3)
    path = run.save(tmp_path / "a.parquet")
    for speed in ("1e15", "1e30", "1e300"):
        with kpmagic.connect(f"replay:{path}", speed=speed) as target:
            assert played(target, run).df()["n"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("cell", ["", "x", "7", "{}", '["kp", 7]', '["kp"]', "[" * 9999])
def test_a_forged_answer_does_no_harm(cell: str, tmp_path: Path) -> None:
    add(tmp_path, Answer(cell, "text"))
    add(tmp_path, Answer(of_line(["sig", "vfs_read"]), "text"))
    there = pytest.raises(TargetError, match="there is %kp sig vfs_read")
    with kpmagic.connect(f"replay:{tmp_path}") as target, there:
        target.target.answer(["sig", "vfs_write"])  # type: ignore[attr-defined]


def test_what_has_not_run_has_empty_tables(far: Any, tmp_path: Path) -> None:
    path = finished(far, 1).save(tmp_path / "a.parquet")
    chosen = Options(command="ls", dry_run=True)
    cell = Probe("kprobe", a_run(far[1]).plan.probe.specs, "emit(n);\n", chosen)
    with kpmagic.connect(f"replay:{path}") as target:
        run = start(cell, target)
        assert run.aggregates["hits"]["count"].tolist() == [0]
        with pytest.raises(CellError, match="no rows"):
            run.plot("rate")
        with pytest.raises(TargetError):
            target.request("aggregates", run=99)
    end, connection = far
    assert a_run(connection, aggregates=(HITS,)).aggregates["hits"]["count"].tolist() == [0]
    assert all(each["do"] != "aggregates" for each in end.asked)


def test_nothing_else_can_be_asked(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1)
    run.save(tmp_path / "a.parquet")
    with kpmagic.connect(f"replay:{tmp_path}") as target:
        for ask in (lambda: target.run("ls"), lambda: target.read("/etc/passwd"), target.facts,
                    target.kernel_log):
            with pytest.raises(TargetError, match="no kernel behind it"):
                ask()
        last = checks(target)[-1]
        assert last.ok is None
        assert "no kernel behind it" in str(last)
        with pytest.raises(TargetError, match="no recording of kmodule hello"):
            kpmagic.module("hello", "int x;", target=target, command="ls")
        with pytest.raises(CellError, match="keeps the source"):
            stage(played(target, run), "asm")
        assert "int kp_0" in stage(played(target, run), "source")
        assert "vfs_read" in stage(played(target, run), "plan")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for name, error in (("nowhere", "no recording at"), ("", "no recording")):
        with pytest.raises(TargetError, match=error):
            kpmagic.connect(f"replay:{tmp_path / name}")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(RecordingError, match=r"x\.parquet"):
        kpmagic.connect(f"replay:{tmp_path}")


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("10x", 10.0), (0.5, 0.5),
                                             ("full", float("inf")), (None, float("inf"))])
def test_speeds(text: object, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", ""])
def test_no_speeds(text: str) -> None:
    with pytest.raises(ValueError, match="as fast as recorded"):
        parse_speed(text)
    with pytest.raises(CellError, match="--speed"):
        kpmagic.connect("replay:x", speed=text)


def test_the_pace_and_an_early_stop(far: Any, tmp_path: Path) -> None:
    """Rows an hour apart: at full speed they are there at once, at their own they are not."""
    run = finished(far, 1, 2, 3)
    frame = run.df()
    later = frame.assign(time=frame["time"] + pd.to_timedelta([0, 1, 2], "h"))
    table = run.df("arrow").set_column(0, "time", pa.array(later["time"].to_numpy()))
    run._life.recording.arrows = lambda: iter([table])  # type: ignore[method-assign]
    path = run.save(tmp_path / "a.parquet")
    with kpmagic.connect(f"replay:{path}") as target:
        assert len(played(target, run).df()) == 3
    with kpmagic.connect(f"replay:{path}", speed="7200") as target:  # half a second for an hour
        assert len(played(target, run).df()) == 3
    with kpmagic.connect(f"replay:{path}", speed=1) as target:
        probe = Probe("kprobe", run.plan.probe.specs, "emit(n);", Options(command="ls"))
        again = start(probe, target)
        limit = time.monotonic() + 10
        while again.stats.rows < 1:
            assert time.monotonic() < limit
        again.stop()
        assert (again.stopped_by, again.stats.rows, again.state) == ("user", 1, "stopped")
        assert again.stats.balanced
        other = start(probe, target)
    assert other.wait(5)
    assert other.stopped_by == "target-lost"


def test_only_a_replay_is_chosen_by_the_environment(
    far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(far, 1)
    run.save(tmp_path / "a.parquet")
    for name in ("local", "ssh://root@host", "sandbox", "nonsense"):
        monkeypatch.setenv("KPMAGIC_TARGET", name)
        assert Session()._name == "sandbox"
    monkeypatch.setenv("KPMAGIC_TARGET", f"replay:{tmp_path}")
    session = Session()
    assert session.connection().name == "replay"
    assert played(session.connection(), run).df()["n"].tolist() == [1]
    session.close()
