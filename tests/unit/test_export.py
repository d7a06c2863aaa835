# SPDX-License-Identifier: MIT
"""What other tools get, read with their own schemas; and stacks, as an icicle."""

from __future__ import annotations

import io
import json
import os
import resource
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent
from seen import START, Seen, rows, seen

from kpmagic.errors import CellError, RecordingError
from kpmagic.exported.formats import FORMATS, export
from kpmagic.exported.stacks import stacks
from kpmagic.view.flame import flame
from kpmagic.view.plots_data import MOST

# github.com/jlfwong/speedscope, src/lib/file-format-spec.ts, what it says of sampled profiles
NUMBERS = {"type": "array", "items": {"type": "number"}}
SPEEDSCOPE = {
    "type": "object", "required": ["$schema", "shared", "profiles"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "name": {"type": "string"}, "exporter": {"type": "string"},
        "activeProfileIndex": {"type": "number"},
        "shared": {"type": "object", "required": ["frames"], "properties": {"frames": {
            "type": "array", "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "file": {"type": "string"}}}}}},
        "profiles": {"type": "array", "items": {
            "type": "object", "additionalProperties": False,
            "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
            "properties": {
                "type": {"const": "sampled"}, "name": {"type": "string"},
                "unit": {"enum": ["bytes", "microseconds", "milliseconds", "nanoseconds", "none",
                                  "seconds"]},
                "startValue": {"type": "number"}, "endValue": {"type": "number"},
                "samples": {"type": "array", "items": NUMBERS}, "weights": NUMBERS}}},
    },
}  # fmt: skip
READ = ["vfs_read", "ksys_read", "do_syscall_64"]
WRITE = ["vfs_write", "do_syscall_64"]


def stacked(**columns: Any) -> Seen:
    cells = np.empty(4, object)
    cells[:] = [READ, WRITE, READ, []]
    return seen(4, kstack=cells, **columns)


def keyed() -> Seen:
    table = pd.DataFrame({"kstack": ["do_syscall_64;ksys_read;vfs_read", "do_syscall_64"],
                          "count": [5, 2]})  # fmt: skip
    return Seen(rows(0), {"count(by = kstack())": table})


def test_stacks_of_rows_and_of_aggregates() -> None:
    outside_in = tuple(reversed(READ))
    assert stacks(stacked()).weights == {outside_in: 2, ("do_syscall_64", "vfs_write"): 1}
    spent = stacked(latency=np.array([10, 1, 30, 99]))
    assert stacks(spent, value="latency").weights[outside_in] == 40
    assert stacks(keyed()).weights == {outside_in: 5, ("do_syscall_64",): 2}


def test_csv(tmp_path: Path) -> None:
    run = stacked(name=['a,"b"\n', "ü", "=1", ""])
    written = export(run, "csv", tmp_path / "rows.csv")
    back = pd.read_csv(written, keep_default_na=False, parse_dates=["time"])
    assert list(back.columns) == list(run.frame.columns)
    assert back["name"].tolist() == run.frame["name"].tolist()
    assert back["time"].tolist() == run.frame["time"].tolist()
    assert back["kstack"][0] == "do_syscall_64;ksys_read;vfs_read"
    assert pd.read_csv(io.BytesIO(FORMATS["csv"](keyed())))["count"].tolist() == [5, 2]


@pytest.mark.parametrize("run", [stacked(), keyed()])
def test_folded(run: Seen, tmp_path: Path) -> None:
    for line in export(run, "folded", tmp_path / "x").read_text().splitlines():
        names, _, weight = line.rpartition(" ")
        assert int(weight) > 0
        assert names.split(";")[0] == "do_syscall_64"


def test_speedscope(tmp_path: Path) -> None:
    whole = json.loads(export(stacked(), "speedscope", tmp_path / "x.json").read_text())
    jsonschema.validate(whole, SPEEDSCOPE)
    (profile,) = whole["profiles"]
    frames = [each["name"] for each in whole["shared"]["frames"]]
    named = [[frames[at] for at in sample] for sample in profile["samples"]]
    assert named == [list(reversed(READ)), list(reversed(WRITE))]
    assert profile["weights"] == [2, 1]
    assert profile["endValue"] == 3


def test_perfetto_instants() -> None:
    run = seen(3, flags=np.array([1, 2, 1 << 63], np.uint64), error=np.array([-2, 0, 1]),
               name=["<b>", "ü", None])  # fmt: skip
    trace = Trace.FromString(FORMATS["perfetto"](run))
    (track, *events) = trace.packet
    thread = track.track_descriptor.thread
    assert (thread.pid, thread.tid, thread.thread_name) == (7, 8, "sh")
    assert [packet.timestamp for packet in events] == [START, START + 1000, START + 2000]
    assert {packet.track_event.type for packet in events} == {TrackEvent.TYPE_INSTANT}
    assert {packet.track_event.track_uuid for packet in events} == {track.track_descriptor.uuid}
    assert {packet.track_event.name for packet in events} == {"vfs_read"}
    notes = [{note.name: note for note in packet.track_event.debug_annotations}
             for packet in events]  # fmt: skip
    assert notes[2]["flags"].uint_value == 1 << 63
    assert notes[0]["error"].int_value == -2
    assert (notes[0]["name"].string_value, notes[1]["name"].string_value) == ("<b>", "ü")
    assert "name" not in notes[2]


def test_perfetto_slices_nest() -> None:
    # at 1000 ends a call of 500 within one of 2000 that ends at 2000; the last took no time
    run = seen(3, latency=np.array([0, 500, 2000]))
    trace = Trace.FromString(FORMATS["perfetto"](run))
    depth, deepest = 0, 0
    stamps = []
    for packet in trace.packet[1:]:
        depth += {TrackEvent.TYPE_SLICE_BEGIN: 1, TrackEvent.TYPE_SLICE_END: -1}[
            packet.track_event.type]  # fmt: skip
        assert depth >= 0
        deepest = max(depth, deepest)
        stamps.append(packet.timestamp - START)
    assert (depth, deepest) == (0, 2)
    assert stamps == [-1, 0, 0, 500, 1000, 2000]


def test_perfetto_has_an_instant_where_a_row_tells_no_time() -> None:
    for latency in (pd.array([None, 5], "Int64"), pd.Categorical(["a", "b"]), [None, 0.5]):
        data = FORMATS["perfetto"](seen(2, latency=latency))
        kinds = [each.track_event.type for each in Trace.FromString(data).packet
                 if each.HasField("track_event")]  # fmt: skip
        assert TrackEvent.TYPE_INSTANT in kinds


def test_perfetto_keeps_the_idle_threads_apart() -> None:
    run = seen(2, latency=np.array([900, 900]))
    run.frame["tid"], run.frame["pid"], run.frame["cpu"] = 0, 0, [0, 1]
    trace = Trace.FromString(FORMATS["perfetto"](run))
    assert len({packet.track_descriptor.uuid for packet in trace.packet[:2]}) == 2


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(CellError, match="did you mean csv"):
        export(seen(1), "cvs", tmp_path / "x")
    for form in ("folded", "speedscope"):
        with pytest.raises(CellError, match="vfs_read has no stacks") as caught:
            export(seen(1), form, tmp_path / "x")
        assert "kstack()" in caught.value.hint
    for form in ("csv", "perfetto"):
        with pytest.raises(CellError, match="no rows"):
            export(seen(0), form, tmp_path / "x")
    lines = Seen(rows(3)[["time", "comm"]])  # as of another tracer
    with pytest.raises(CellError, match="no pid, tid, cpu"):
        export(lines, "perfetto", tmp_path / "x")
    for place in (tmp_path, tmp_path / "no" / "x"):
        with pytest.raises(RecordingError, match="cannot write") as wrong:
            export(seen(1), "csv", place)
        assert "directory" in str(wrong.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CellError, match="'cpu' holds no stacks"):
        flame(stacked(), "cpu")


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "rows.csv"
    place.write_text("what was there\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(RecordingError, match=r"cannot write .*: File too large"):
            export(seen(1000), "csv", place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [*tmp_path.iterdir()] == [place]
    assert place.read_text() == "what was there\n"


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    export(seen(1), "csv", pipe)
    assert os.read(reader, 1 << 16).startswith(b"time,")
    os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(RecordingError, match="No space left on device"):
        export(seen(1), "csv", "/dev/full")
    assert Path("/dev/full").is_char_device()


def test_a_link_leads_to_the_file_that_is_written(tmp_path: Path) -> None:
    place = tmp_path / "rows.csv"
    (tmp_path / "link").symlink_to(place)
    export(seen(1), "csv", tmp_path / "link")
    assert place.exists()
    assert (tmp_path / "link").is_symlink()


def test_an_icicle() -> None:
    figure = flame(stacked())
    (trace,) = figure.data
    assert list(trace.labels[:2]) == ["all", "do_syscall_64"]
    assert dict(zip(trace.labels, trace.values, strict=True)) == {
        "all": 3, "do_syscall_64": 3, "ksys_read": 2, "vfs_read": 2, "vfs_write": 1}  # fmt: skip
    assert trace.parents[0] == ""
    assert "stacks by rows" in figure.layout.title.text
    assert "&lt;i&gt;" in flame(Seen(rows(0), {"n": pd.DataFrame(
        {"ustack": ["main;<i>"], "count": [1]})})).data[0].labels  # fmt: skip


def test_an_icicle_of_very_many_stacks_stays_a_tree() -> None:
    table = pd.DataFrame({"kstack": [f"a;b{n % 50};c{n}" for n in range(5000)],
                          "count": np.arange(1, 5001)})  # fmt: skip
    (trace,) = flame(Seen(rows(0), {"n": table})).data
    assert len(trace.ids) == MOST
    assert set(trace.parents) - {""} <= set(trace.ids)
