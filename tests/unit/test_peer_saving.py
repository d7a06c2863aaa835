# SPDX-License-Identifier: MIT
"""A run of another tracer into a file, back, and played again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from damaged import refusals
from far_end import FarEnd, stopped

import kpmagic
from kpmagic.agent import wire
from kpmagic.cell.script import Script, parse_script
from kpmagic.channel.connection import Connection
from kpmagic.errors import BuildError, CellError, KpmagicError, RecordingError, TargetError
from kpmagic.peers.run import PeerRun
from kpmagic.saved import past
from kpmagic.view.peer_card import PEER_CARD
from kpmagic.view.picture import PLOTLY

Far = tuple[FarEnd, Connection]
SCRIPT = "kprobe:vfs_read { @[comm, cpu] = count(); @size = hist(arg2); }"
SOURCE = "BPF_HASH(counts, u32);\nint hello(void *ctx) { return 0; }"
PRINTED = {
    "bpftrace": [
        {"type": "printf", "data": "one\ntwo é\n"},
        {"type": "lost_events", "data": {"events": 7}},
        {"type": "map", "data": {"@": {"dd,0": 5, "cat,1": 2}}},
        {"type": "hist", "data": {"@size": [{"min": 8, "max": 15, "count": 7}]}},
    ],
    "bcc": [
        {"type": "row", "event": "events", "time": 10**18, "data": {"pid": 7, "comm": "a"}},
        {"type": "row", "event": "trace_printk", "time": 10**18 + 5, "data": {"text": "hi é"}},
        {"type": "lost_events", "data": {"events": 7}},
        {"type": "table", "name": "counts", "kind": "hash", "keys": [], "columns": [],
         "rows": [[3, 4], [1, 2]]},
    ],
}  # fmt: skip


def began(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    end.reply(run, message, {"start_ns": 5})


@pytest.fixture
def far() -> Iterator[Far]:
    end = FarEnd({"peer": began, "stop": stopped})
    with Connection(end) as connection:
        connection.wait_for_hello()
        yield end, connection


def a_script(tool: str) -> Script:
    if tool == "bpftrace":
        return parse_script(tool, "--while ls", SCRIPT, cell="In[3]")
    return parse_script(tool, "vfs_read --while ls", SOURCE, cell="In[3]")


def finished(far: Far, tool: str) -> PeerRun:
    end, connection = far
    run = PeerRun(connection, a_script(tool), PEER_CARD).start()
    at = run._life.number
    for stream, text in (("tool", "beware\n"), ("stdout", "a\n"), ("agent", "mind")):
        end.say(wire.LOG, at, wire.pack_json({"stream": stream, "text": text}))
    for message in PRINTED[tool]:
        end.say(wire.DATA, at, json.dumps(message).encode() + b"\n")
    end.end(at, "while", workload={"exit_code": 3})
    assert run.wait(5)
    return run


def same(one: PeerRun, other: Any) -> None:
    assert isinstance(other, PeerRun)
    for engine in ("pandas", "polars", "arrow"):
        assert other.df(engine).equals(one.df(engine)), engine
    assert {name: frame.to_dict() for name, frame in other.aggregates.items()} == {
        name: frame.to_dict() for name, frame in one.aggregates.items()}  # fmt: skip
    for member in ("stats", "workload", "source", "said", "stopped_by", "state", "remarks", "error",
                   "name", "options", "unit"):  # fmt: skip
        assert getattr(other, member) == getattr(one, member), member


@pytest.mark.parametrize("tool", PRINTED)
def test_a_loaded_run_has_the_same_members(far: Far, tmp_path: Path, tool: str) -> None:
    run = finished(far, tool)
    assert (run.stats.rows, run.stats.dropped, len(run.aggregates)) == (
        2, 7, 2 if tool == "bpftrace" else 1)  # fmt: skip
    loaded = kpmagic.load(run.save(tmp_path / "a.parquet"))
    same(run, loaded)
    assert loaded.info == run.info
    assert str(loaded) == str(run)
    assert loaded._repr_html_() == run._repr_html_()
    same(run, kpmagic.load(loaded.save(tmp_path / "b.parquet")))
    with pytest.raises(TargetError, match="cannot be started"):
        loaded.start()
    assert loaded.stop() is loaded


@pytest.mark.parametrize("tool", PRINTED)
def test_a_cell_gets_what_it_got(far: Far, tmp_path: Path, tool: str) -> None:
    run = finished(far, tool)
    path = run.save(tmp_path / "a.parquet")

    def again(text: str, target: Connection) -> PeerRun:
        if tool == "bpftrace":
            return kpmagic.bpftrace(text, target=target, command="ls")
        return kpmagic.bcc(text, "vfs_read", target=target, command="ls")

    with kpmagic.connect(f"replay:{path}") as target:
        played = again(f"\n{run.source}", target)
        assert played.source == run.source
        assert played.df("arrow").equals(run.df("arrow"))
        assert played.stats == run.stats
        assert list(played.aggregates) == list(run.aggregates)
        assert (played.said, played.stopped_by) == (run.said, "while")
        assert "on replay 6.1.0-test" in str(played)
        with pytest.raises(TargetError, match=rf"no recording of {tool} .*; there is {tool} "):
            again(run.source.replace("vfs_read", "vfs_open").replace("0", "1"), target)


def test_every_script_is_recorded_if_all_are(
    far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_RECORD", str(tmp_path / "all"))
    run = finished(far, "bpftrace")
    end, connection = far
    end.answers["peer"] = lambda end, at, message, blob: end.refuse(
        at, message, kind="tool", message="it ended with 1", errno=1,
        log="stdin:1:3: ERROR: no such thing")  # fmt: skip
    with pytest.raises(BuildError, match="no such thing"):
        kpmagic.bpftrace("BEGIN { wrong }", target=connection, duration="1s")
    monkeypatch.delenv("KPMAGIC_RECORD")
    assert sorted(file.name for file in (tmp_path / "all").iterdir()) == [
        "001-kprobe-vfs_read.parquet", "answers.json"]  # fmt: skip
    with kpmagic.connect(f"replay:{tmp_path / 'all'}") as target:
        same(run, kpmagic.bpftrace(SCRIPT, target=target, command="ls"))
        with pytest.raises(KpmagicError, match="no such thing"):
            kpmagic.bpftrace("BEGIN { wrong }", target=target, duration="1s")


def test_a_lost_target_is_told_by_the_recording(far: Far, tmp_path: Path) -> None:
    end, connection = far
    run = PeerRun(connection, a_script("bpftrace"), PEER_CARD).start()
    end.hang_up()
    assert run.wait(5)
    loaded = kpmagic.load(run.save(tmp_path / "a.parquet"))
    assert loaded.stopped_by == "target-lost"
    assert str(loaded.lost()) in str(loaded)
    assert loaded.lost().message == run.lost().message


def test_only_what_is_over_is_saved(far: Far, tmp_path: Path) -> None:
    _, connection = far
    run = PeerRun(connection, a_script("bpftrace"), PEER_CARD)
    with pytest.raises(CellError, match="has not run"):
        run.save(tmp_path / "a.parquet")
    with run.start(), pytest.raises(CellError, match="still running"):
        run.save(tmp_path / "a.parquet")


@pytest.mark.parametrize(("tool", "maps"), [
    ("bpftrace", b"{"), ("bpftrace", b"[]"), ("bpftrace", b'{"lost": 1, "maps": {"@": 3}}'),
    ("bpftrace", b'{"lost": 1, "maps": {"@": ["map", {"a": {"b": []}}], "@x": ["odd", 1]}}'),
    ("bcc", b'{"lost": "x", "tables": {}}'), ("bcc", b'{"lost": 1, "tables": {"a": {}}}'),
    ("bcc", b'{"lost": 1, "tables": {"a": {"keys": ["k"], "columns": [], "rows": [[1, 2]], '
            b'"kind": "hash"}}}'),
    ("perf", b'{"lost": 1, "maps": {}}'),
])  # fmt: skip
def test_a_damaged_one_is_refused(
    far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, maps: bytes
) -> None:
    run = finished(far, "bpftrace")
    whole = past.PeerPast

    def changed(script: Script, *arguments: Any) -> past.PeerPast:
        other = Script(tool, script.text, script.options, script.cell)
        return whole(other, *arguments[:-1], maps)

    monkeypatch.setattr("kpmagic.peers.saving.PeerPast", changed)
    path = run.save(tmp_path / "a.parquet")
    with pytest.raises(RecordingError, match="cannot read"):
        kpmagic.load(path)


@pytest.mark.parametrize("tool", PRINTED)
def test_a_wrong_byte_does_no_harm(far: Far, tmp_path: Path, tool: str) -> None:
    def look(run: PeerRun) -> None:
        str(run), run.df(), run._repr_html_(), run.stats, run.aggregates

    whole = finished(far, tool).save(tmp_path / "whole").read_bytes()
    assert refusals(whole, tmp_path / "changed", look) > 100


@pytest.mark.parametrize("tool", PRINTED)
def test_it_can_be_followed(far: Far, tool: str) -> None:
    live = finished(far, tool).live("rate").panel
    (shown,) = live._output.outputs
    assert PLOTLY in shown["data"]
    assert "<table" in shown["data"]["text/html"]


@pytest.mark.parametrize("printed", [b"trace: lost", b"[1]", b'{"type": "row"}', b'{"type": "x"}',
                                     b'{"type": "row", "time": 1, "event": "e", "data": 7}'])
def test_what_bcc_prints_beside_its_events_is_told(far: Far, printed: bytes) -> None:
    end, connection = far
    run = PeerRun(connection, a_script("bcc"), PEER_CARD).start()
    good = json.dumps(PRINTED["bcc"][0]).encode()
    end.say(wire.DATA, run._life.number, printed + b"\n" + good + b"\n")
    end.end(run._life.number, "while")
    assert run.wait(5)
    assert (run.stopped_by, run.stats.rows, run.state) == ("while", 1, "failed")
    assert "no event" in run.error
    assert connection.alive
