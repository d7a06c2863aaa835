# SPDX-License-Identifier: MIT
"""A process that was two programs at the same addresses, in runs and their recordings."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from far_end import FarEnd
from records import layout, record, site, size_of
from runs import until

import kpmagic
from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.model import Artifact, Options, Plan, Probe, Program, Source
from kpmagic.record import Aggregate, CType, Field
from kpmagic.run import Run
from kpmagic.starting import start
from kpmagic.userland.memory import Memory
from kpmagic.view.card import CARD

USTACK = CType("ustack", 24, False, "ustack()", 3)
ROW = layout(0, ("stack", USTACK))
PACKED = layout(0, ("stack", CType("array", 24, False, count=3)))
SIZE = size_of(ROW)
COUNTED = Aggregate("kp_a0", "count(by = ustack())", "count", (Field("by", USTACK, 0),), 32)
DASH, CAT = ["[dash]"], ["[cat]"]


def a_run(connection: Connection, **options: Any) -> Run:
    memory = Memory(lambda file, offset: "")
    place = site("vfs_read")
    plan = Plan(Probe("kprobe", (place.spec,), "emit(ustack());", Options(**options)), (place,),
                "6.1.0-test", "build", 1)  # fmt: skip
    source = Source({"handler.bpf.c": "int kp_0;"}, "handler.bpf.c", (ROW,), SIZE, (COUNTED,),
                    (Program("kp_0", "vfs_read"),))  # fmt: skip
    return Run(connection, plan, Artifact(source, b"ELF", "clang 19", 0.1, "digest"), CARD,
               look_up=memory.name, memory=memory)  # fmt: skip


def rows(end: FarEnd, at: int, *times: int) -> None:
    end.say(wire.DATA, at, b"".join(
        record(PACKED, {"stack": [7, 0x1010, 0]}, size=SIZE, ts=ts, pid=7) for ts in times
    ))  # fmt: skip


def told(end: FarEnd, at: int, files: list[Any], *events: list[Any]) -> None:
    end.say(wire.MAPS, at, wire.pack_json({"events": events, "files": files, "lost": 0}))


def an_exec(end: FarEnd, run: Run, times: tuple[int, ...] = (10, 40, 19)) -> None:
    """Process 7 is dash from 5 on, and cat from 20 on: it lies where dash was."""
    at = run._life.number
    told(end, at, [[0, "/bin/dash", "a"], [1, "[vdso]", ""]], ["fork", 1, 7, 6],
         ["map", 5, 7, 0x1000, 0x100, 0, 0])  # fmt: skip
    told(end, at, [[2, "/bin/cat", "b"]], ["exec", 20, 7], ["map", 21, 7, 0x1000, 0x100, 0, 2],
         ["map", 22, 7, 0x9000, 0x100, 0, 1])  # fmt: skip
    rows(end, at, *times)
    key = struct.pack("<4Q", 7, 0x1010, 0, 0) + struct.pack("<Qq", len(times), 0)
    end.end(at, "while", key, maps=[{"map": "kp_a0", "key_size": 32, "entries": 1}],
            counters={"hits": len(times), "rows": len(times)})  # fmt: skip
    assert run.wait(5)


def check(run: Run) -> None:
    assert run.df()["stack"].tolist() == [DASH, CAT, DASH]
    table = run.aggregates[COUNTED.label]
    assert table.by.tolist() == CAT
    assert table["count"].tolist() == [3]
    said = [text for text in run.remarks if "several programs" in text]
    assert len(said) == 1
    assert said[0].startswith("1 address in stacks that are keys was")


def test_it_is_told_apart_and_a_recording_tells_the_same(far: Any, tmp_path: Path) -> None:
    end, connection = far
    run = a_run(connection).start()
    an_exec(end, run)
    check(run)
    path = run.save(tmp_path / "run.parquet")
    loaded = kpmagic.load(path)
    assert isinstance(loaded, Run)
    check(loaded)
    assert loaded.remarks == run.remarks
    again = kpmagic.load(loaded.save(tmp_path / "again.parquet"))
    assert isinstance(again, Run)
    check(again)
    with kpmagic.connect(f"replay:{path}") as target:
        asked = Probe("kprobe", run.plan.probe.specs, "emit(ustack());\n", Options())
        played = start(asked, target)
        assert played.wait(10)
        check(played)


def test_it_is_told_apart_in_a_file_that_is_written_meanwhile(far: Any, tmp_path: Path) -> None:
    end, connection = far
    path = tmp_path / "run.parquet"
    run = a_run(connection, save=str(path)).start()
    an_exec(end, run)
    check(run)
    loaded = kpmagic.load(path)
    assert isinstance(loaded, Run)
    check(loaded)


def test_names_that_were_looked_at_before_the_exec_are_those_of_before(far: Any) -> None:
    end, connection = far
    run = a_run(connection).start()
    at = run._life.number
    told(end, at, [[0, "/bin/dash", "a"]], ["map", 5, 7, 0x1000, 0x100, 0, 0])
    rows(end, at, 10)
    until(lambda: len(run.df()) > 0)
    assert run.df()["stack"].tolist() == [DASH]
    told(end, at, [[1, "/bin/cat", "b"]], ["exec", 20, 7], ["map", 21, 7, 0x1000, 0x100, 0, 1])
    rows(end, at, 30)
    end.end(at, "while")
    assert run.wait(5)
    assert run.df()["stack"].tolist() == [DASH, CAT]
    assert run.remarks == []


def test_a_run_that_starts_again_knows_no_names_of_before(far: Any) -> None:
    end, connection = far
    run = a_run(connection).start()
    an_exec(end, run, (10,))
    assert run.df()["stack"].tolist() == [DASH]
    run.start()
    at = run._life.number
    told(end, at, [[0, "/bin/sed", "c"]], ["fork", 90, 7, 6], ["map", 91, 7, 0x1000, 0x100, 0, 0])
    rows(end, at, 95)
    end.end(at, "while")
    assert run.wait(5)
    assert run.df()["stack"].tolist() == [["[sed]"]]
