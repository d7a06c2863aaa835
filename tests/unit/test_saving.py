# SPDX-License-Identifier: MIT
"""Runs into files and back."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from far_end import FarEnd, a_run, started, stopped
from hypothesis import example, given, settings
from hypothesis import strategies as st
from records import layout, number, record, site, size_of
from saved import ENGINES, finished, same

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.errors import CellError, RecordingError, TargetError
from kpmagic.record import CType, Layout
from kpmagic.rows.arrow import from_arrow
from kpmagic.rows.batches import pack, unpack
from kpmagic.rows.frames import to_arrow, to_engine
from kpmagic.rows.recording import Recording
from kpmagic.run import Run
from kpmagic.saved.past import (
    FORMATS,
    KEY_DIGEST,
    KEY_FORMAT,
    KEY_MAPS,
    KEY_RUN,
    _digest,
    to_metadata,
)
from kpmagic.targets import kernels
from kpmagic.userland.memory import Memory
from kpmagic.view.card import CARD


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


def test_stacks_without_names_are_told_by_the_recording_too(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1)
    run._memory = Memory(lambda file, offset: "")
    run._memory.feed({"files": [], "events": [], "lost": 7})
    assert any("7 mappings of code" in each for each in run.remarks)
    loaded = kpmagic.load(run.save(tmp_path / "run.parquet"))
    assert loaded.remarks == run.remarks
    same(loaded, kpmagic.load(loaded.save(tmp_path / "again.parquet")))


def test_a_run_is_described_while_more_becomes_known_of_it(far: Any) -> None:
    """Rows come in while the file of a run that has just started gets its description."""
    run = finished(far, 1)
    run.info["addresses"] = {f"0:{at:x}": "name" for at in range(5000)}
    over = threading.Event()

    def name() -> None:
        for at in itertools.count():
            if over.is_set():
                return
            run.info["addresses"][f"7:{at % 50000:x}"] = "name"
            run.info[f"more {at % 50}"] = at
            run.info.pop(f"more {(at + 25) % 50}", None)

    interval = sys.getswitchinterval()
    reader = threading.Thread(target=name)
    sys.setswitchinterval(1e-6)
    reader.start()
    try:
        for _ in range(30):
            assert to_metadata(run.past())
    finally:
        over.set()
        reader.join()
        sys.setswitchinterval(interval)


def test_a_run_without_rows_is_kept_too(far: Any, tmp_path: Path) -> None:
    run = finished(far)
    same(run, kpmagic.load(run.save(tmp_path / "run.parquet")))


def test_a_lost_target_keeps_its_last_words(far: Any, tmp_path: Path) -> None:
    end, connection = far
    end.words = "BUG: unable to handle page fault"
    run = a_run(connection, view=CARD).start()
    end.rows(run._life.number, 5)
    end.hang_up()
    assert run.wait(5)
    loaded = kpmagic.load(run.save(tmp_path / "run.parquet"))
    same(run, loaded)
    assert "unable to handle page fault" in str(loaded)
    assert "unable to handle page fault" in str(loaded.lost())


def test_what_is_over_cannot_be_started_and_may_be_stopped(far: Any, tmp_path: Path) -> None:
    loaded = kpmagic.load(finished(far, 1).save(tmp_path / "run.parquet"))
    with pytest.raises(TargetError, match=r"recording.*cannot be started"):
        loaded.start()
    assert loaded.stop() is loaded
    assert loaded.wait(0.1)
    assert len(loaded.finish().df()) == 1
    with loaded:
        assert loaded.state == "stopped"


def test_only_what_has_ended_is_saved(far: Any, tmp_path: Path) -> None:
    _, connection = far
    run = a_run(connection)
    with pytest.raises(CellError, match="has not run"):
        run.save(tmp_path / "x")
    with run.start(), pytest.raises(CellError, match="still running"):
        run.save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_recording_is_replaced_and_nothing_else(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1)
    path = run.save(tmp_path / "run.parquet")
    rows = kpmagic.load(path)
    assert finished(far, 1, 2).save(path) == path
    assert len(kpmagic.load(path).df()) == 2
    assert len(rows.df()) == 1  # what was open stays what it was
    for other, content in (("notes.ipynb", b"{}"), ("empty", b"")):
        (tmp_path / other).write_bytes(content)
        with pytest.raises(RecordingError, match="is not a recording: it is not overwritten"):
            run.save(tmp_path / other)
        assert (tmp_path / other).read_bytes() == content
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(RecordingError, match="is not a recording"):
        run.save(tmp_path / "other.parquet")
    with pytest.raises(RecordingError, match=r"cannot write to .*No such file"):
        run.save(tmp_path / "no" / "run.parquet")


def test_a_recording_is_a_parquet_file_for_everybody(far: Any, tmp_path: Path) -> None:
    run = finished(far, 1, 2)
    path = run.save(tmp_path / "run.parquet")
    table = pq.read_table(path)
    assert table.column_names == ["time", "cpu", "pid", "tid", "comm", "n"]
    assert table["n"].to_pylist() == [1, 2]
    assert (path.stat().st_mode & 0o777) & 0o600 == 0o600


# types and shapes

INTEGERS = st.tuples(st.sampled_from([1, 2, 4, 8]), st.booleans()).map(lambda each: number(*each))
TYPES = st.one_of(
    INTEGERS,
    st.sampled_from([
        CType("bool", 1), CType("string", 8), CType("pointer", 8),
        CType("enum", 4, enumerators={0: "RED", 1: "GREEN"}),
        CType("array", 8, True, count=2), CType("array", 4, count=4),
    ]),
)  # fmt: skip
SHAPES = st.lists(st.lists(st.tuples(st.sampled_from("abc"), TYPES), unique_by=lambda f: f[0],
                           max_size=3), min_size=1, max_size=3)  # fmt: skip


def recording_of(shapes: list[Layout], picks: list[int], junk: bytes) -> Recording:
    size = size_of(*shapes)
    recording = Recording(shapes, [site("f"), site("g", 5)], size)
    for at, pick in enumerate(picks):
        shape = shapes[pick % len(shapes)]
        raw = bytearray(record(layout(shape.row), {}, size=size, ts=at, site=at % 2))
        for field in shape.fields:
            start = 8 + field.offset
            raw[start : start + field.type.size] = (junk * 8)[at : at + field.type.size]
        recording.feed(bytes(raw))
    return recording


@settings(deadline=None, max_examples=80)
@example([[("a", CType("bool", 1))], [("a", number(1, True))], [("a", number(8))]], [0, 1, 2],
         b"\x01" * 8)  # fmt: skip
@example([[("a", CType("bool", 1))], [("a", CType("array", 8, True, count=2))]], [0, 1],
         b"12345678")  # fmt: skip
@given(SHAPES, st.lists(st.integers(0, 2), max_size=6), st.binary(min_size=8, max_size=8))
def test_every_layout_survives(shapes: Any, picks: list[int], junk: bytes) -> None:
    layouts = [layout(at, *fields) for at, fields in enumerate(shapes)]
    before = recording_of(layouts, picks, junk)
    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(before.table()), sink)
    stored = pq.read_table(pa.BufferReader(sink.getvalue()))
    for after in (unpack(pack(to_arrow(before.table()))), stored):
        for engine in ENGINES:
            one, other = to_engine(before.table(), engine), to_engine(from_arrow(after), engine)
            if picks:  # without rows categories are not there either
                assert one.equals(other), engine
        frame = to_engine(from_arrow(after), "pandas")
        if picks:
            assert frame.dtypes.tolist() == before.df().dtypes.tolist()
        assert list(map(str, frame.dtypes)) == list(map(str, before.df().dtypes))


# bytes that are not a recording, or no longer

def look(path: Path) -> None:
    """Open a recording and look at all of it."""
    run = kpmagic.load(path)
    for engine in ENGINES:
        run.df(engine)
    assert str(run)
    assert run._repr_html_()
    assert run.aggregates is not None
    assert run.stats


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, b"\x7fELF", b"KPMAGIC-FRAMES\n\0",
                                     b"not a recording" * 100])  # fmt: skip
def test_what_is_no_recording_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        kpmagic.load(tmp_path / "x")
    assert "x'" in caught.value.message
    assert caught.value.hint


def test_other_places_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "fifo", Path("/dev/null"), "a\0b"):
        with pytest.raises(RecordingError, match="cannot read"):
            kpmagic.load(path)


@pytest.mark.parametrize("path", [None, 7, b"run", "~nobody-is-called-so/run.parquet"])
def test_what_is_no_path_is_refused(far: Any, path: Any) -> None:
    run = finished(far, 1)
    for use in (run.save, kpmagic.load, lambda path: run.export("csv", path)):
        with pytest.raises(RecordingError, match="is no path of a file"):
            use(path)
    if isinstance(path, str):
        with pytest.raises(RecordingError, match="is no path of a file"):
            kpmagic.connect(f"replay:{path}")
        with pytest.raises(TargetError, match="no kernel at"):
            kernels.find(path)


def test_a_link_to_itself_is_replaced(far: Any, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    run = finished(far, 1)
    assert len(kpmagic.load(run.save(tmp_path / "loop")).df()) == 1
    with pytest.raises(RecordingError, match="cannot write"):
        run.export("csv", "a\0b")


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x")
    with pytest.raises(RecordingError, match="it is not a recording of kpmagic") as caught:
        kpmagic.load(tmp_path / "x")
    assert caught.value.hint.startswith("a recording is what run.save(path)")


def test_a_damaged_one_says_what_to_do(far: Any, tmp_path: Path) -> None:
    path = finished(far, 1).save(tmp_path / "run.parquet")
    with pytest.raises(RecordingError, match="it is damaged") as caught:
        kpmagic.load(rewritten(path, **{KEY_DIGEST: "0" * 64}))
    assert caught.value.hint.startswith("copy it again, or run its cell again")


def rewritten(path: Path, **texts: str) -> Path:
    """A recording with other texts in it, as somebody with bad intentions writes it."""
    table = pq.read_table(path)
    stored = pq.read_metadata(path).metadata
    metadata = {key.decode(): text.decode() for key, text in stored.items()}
    metadata |= texts
    if KEY_DIGEST not in texts:
        metadata[KEY_DIGEST] = _digest(metadata[KEY_RUN], metadata[KEY_MAPS])
    metadata.pop("ARROW:schema", None)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def test_a_newer_one_says_what_to_do(far: Any, tmp_path: Path) -> None:
    path = finished(far, 1).save(tmp_path / "run.parquet")
    with pytest.raises(RecordingError, match="newer kpmagic") as caught:
        kpmagic.load(rewritten(path, **{KEY_FORMAT: str(max(FORMATS.values()) + 1)}))
    assert "pip install --upgrade kpmagic" in caught.value.hint


def test_every_cut_is_noticed(far: Any, tmp_path: Path) -> None:
    whole = finished(far, *range(50)).save(tmp_path / "run.parquet").read_bytes()
    for end in range(0, len(whole), 97):
        (tmp_path / "cut").write_bytes(whole[:end])
        with pytest.raises(RecordingError):
            kpmagic.load(tmp_path / "cut")


@settings(deadline=None, max_examples=400, database=None)
@given(data=st.data())
def test_changed_bytes_do_no_harm(data: st.DataObject, tmp_path_factory: Any) -> None:
    whole = bytearray(a_file(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(whole)
    try:
        look(path)
    except RecordingError:
        return


def test_a_byte_set_to_0_does_no_harm(tmp_path_factory: Any, tmp_path: Path) -> None:
    whole = a_file(tmp_path_factory)
    refused = 0
    for place in range(500):  # the first columns, comm among them
        (tmp_path / "changed").write_bytes(whole[:place] + b"\0" + whole[place + 1:])
        try:
            look(tmp_path / "changed")
        except RecordingError:
            refused += 1
    assert refused > 0


_FILES: dict[str, bytes] = {}


def a_file(folder: Any) -> bytes:
    if not _FILES:
        end = FarEnd({"start": started, "stop": stopped})
        with Connection(end) as connection:
            connection.wait_for_hello()
            path = finished((end, connection), *range(100)).save(folder.mktemp("one") / "x")
            _FILES["x"] = path.read_bytes()
    return _FILES["x"]


def deep(plain: Any, data: st.DataObject) -> None:
    """Put something else at one place of a description."""
    while True:
        keys = list(plain) if isinstance(plain, dict) else range(len(plain))
        key = data.draw(st.sampled_from(list(keys)))
        if isinstance(plain[key], (dict, list)) and plain[key] and data.draw(st.booleans()):
            plain = plain[key]
            continue
        plain[key] = data.draw(st.sampled_from([
            None, True, -1, 0, 1 << 40, 1 << 70, 1e308, "", "<script>alert(1)</script>",
            "\x1b]0;x\x07", [], {}, [[]], {"a": 1}, "\ud800",
        ]))  # fmt: skip
        return


@settings(deadline=None, max_examples=300, database=None)
@given(data=st.data())
def test_a_forged_description_does_no_harm(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "forged"
    path.write_bytes(a_file(tmp_path_factory))
    plain = json.loads(pq.read_metadata(path).metadata[KEY_RUN.encode()])
    deep(plain, data)
    try:
        run = kpmagic.load(rewritten(path, **{KEY_RUN: json.dumps(plain)}))
        html = run._repr_html_()
        text = str(run)
    except RecordingError:
        return
    assert html is not None
    assert "<script>" not in html
    assert "\x1b" not in text


@pytest.mark.parametrize(("part", "forged"), [
    ("info", {"missed_by": 7}), ("info", {"missed_by": {"probe": "many"}}),
    ("info", {"cost": {"share": 0.1}}), ("info", {"cost": []}), ("info", {"addresses": [1]}),
    ("counters", {"busy_ns": 5}), ("counters", {"busy_ns": 5, "runs": 1}),
])  # fmt: skip
def test_what_is_read_of_a_run_besides_is_what_it_claims(
    far: Any, tmp_path: Path, part: str, forged: dict[str, Any]
) -> None:
    path = finished(far, 1).save(tmp_path / "run.parquet")
    plain = json.loads(pq.read_metadata(path).metadata[KEY_RUN.encode()])
    (plain["info"] if part == "info" else plain["outcome"]["counters"]).update(forged)
    with pytest.raises(RecordingError):
        kpmagic.load(rewritten(path, **{KEY_RUN: json.dumps(plain)}))


@pytest.mark.parametrize("codec", ["zstd", "lz4", None])
def test_batches_that_unpack_to_more_are_refused(codec: str | None) -> None:
    zeros = pa.array(np.zeros(1 << 16, np.int64))
    for column in (zeros, pa.array(["x" * 999]).dictionary_encode()):
        arrow = pa.table({"a": column})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, arrow.schema,
                               options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_table(arrow)
        payload = sink.getvalue().to_pybytes()
        if codec is None:
            assert unpack(payload).equals(arrow)
        else:
            with pytest.raises(RecordingError, match="compressed"):
                unpack(payload)


@pytest.mark.parametrize("column", [
    pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["a", "a"])),
    pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["a", None])),
    pa.array([0, None], pa.timestamp("ns")), pa.array([0.5, None]),
    pa.array([["a", None], []]), pa.array([[1], [2]]),
    pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)),
])  # fmt: skip
def test_values_that_no_recording_has_are_refused(column: Any) -> None:
    with pytest.raises(RecordingError, match="no recording"):
        from_arrow(pa.table({"time": column}))


def test_a_size_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A few bytes that unpack to gigabytes."""
    rows = 60_000_000
    with pq.ParquetWriter(tmp_path / "bomb", pa.schema([("a", pa.int64())])) as writer:
        piece = pa.table({"a": pa.array(np.zeros(rows // 10, np.int64))})
        for _ in range(10):
            writer.write_table(piece)
        writer.add_key_value_metadata({KEY_FORMAT: "1"})
    assert (tmp_path / "bomb").stat().st_size < 1 << 20
    with pytest.raises(RecordingError, match="claims 60000000 rows in a file of"):
        kpmagic.load(tmp_path / "bomb")
