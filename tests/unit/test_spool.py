# SPDX-License-Identifier: MIT
"""Recording straight to a file while a run goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import far_end
import numpy as np
import pyarrow as pa
import pytest
from far_end import FarEnd, a_run, started
from records import record, site

import kpmagic
from kpmagic.errors import RecordingError, TargetError
from kpmagic.rows.recording import Recording
from kpmagic.saved.journal import Journal, read
from kpmagic.saved.parquet import MAGIC
from kpmagic.saved.spool import Spool
from kpmagic.view.card import CARD


def stopped_with_counters(end: FarEnd, run: int, message: Any, blob: bytes) -> None:
    end.reply(run, message, {})
    end.end(run, message["reason"], counters={"hits": 60, "rows": 60})


def until(true: Any) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_rows_go_to_the_file_and_are_all_there(far: Any, tmp_path: Path) -> None:
    end, connection = far
    path = tmp_path / "run.parquet"
    plain = a_run(connection, view=CARD).start()
    spooled = a_run(connection, view=CARD, save=str(path)).start()
    for run in (plain, spooled):
        for first in range(0, 60, 20):
            end.rows(run._life.number, *range(first, first + 20))
    until(lambda: spooled.stats.rows == 60)
    assert path.read_bytes()[:7] == b"KPMAGIC"
    assert spooled.df()["n"].tolist() == list(range(60))  # while it runs
    assert kpmagic.load(path).df().equals(plain.df())  # somebody else looks at it
    assert kpmagic.load(path).stopped_by == "cut-off"
    plain.stop()
    spooled.stop()
    assert path.read_bytes().startswith(MAGIC)
    for engine in ("pandas", "polars", "arrow"):
        assert spooled.df(engine).equals(plain.df(engine))
        assert kpmagic.load(path).df(engine).equals(plain.df(engine))
    assert str(spooled) == str(plain) == str(kpmagic.load(path))
    assert os.listdir(tmp_path) == ["run.parquet"]
    again = spooled.save(tmp_path / "copy.parquet")
    assert kpmagic.load(again).df().equals(plain.df())


def test_a_run_that_does_not_start_leaves_no_file(far: Any, tmp_path: Path) -> None:
    end, connection = far
    end.answers["start"] = lambda end, run, message, blob: end.refuse(
        run, message, kind="os", message="no")
    (tmp_path / "other").write_text("x")
    run = a_run(connection, save=str(tmp_path / "run.parquet"))
    with pytest.raises(TargetError):
        run.start()
    with pytest.raises(RecordingError, match="is not overwritten"):
        a_run(connection, save=str(tmp_path / "other")).start()
    with pytest.raises(RecordingError, match="cannot write to"):
        a_run(connection, save=str(tmp_path / "no" / "x")).start()
    assert os.listdir(tmp_path) == ["other"]


@pytest.mark.parametrize("spooled", [False, True])
def test_who_may_read_a_recording_stays_as_it_was(
    far: Any, tmp_path: Path, spooled: bool
) -> None:
    path = tmp_path / "run.parquet"

    def written() -> int:
        run = a_run(far[1], save=str(path) if spooled else "").start()
        run.stop()
        if not spooled:
            run.save(path)
        return path.stat().st_mode & 0o777

    before = os.umask(0o027)
    try:
        assert written() == 0o640
        path.chmod(0o600)
        assert written() == 0o600
    finally:
        os.umask(before)


def test_a_pipe_is_refused_and_stays(far: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RecordingError, match="is not a recording"):
        a_run(far[1], save=str(pipe)).start()
    assert [*tmp_path.iterdir()] == [pipe]
    assert pipe.is_fifo()


def test_a_link_leads_to_the_recording_that_is_written(far: Any, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link, file = tmp_path / "link", tmp_path / "disk" / "run.parquet"
    link.symlink_to(file)
    for _ in range(2):
        run = a_run(far[1], save=str(link)).start()
        assert (link.is_symlink(), file.exists()) == (True, True)
        run.stop()
        assert (link.is_symlink(), len(kpmagic.load(file).df())) == (True, 0)
    assert os.listdir(tmp_path / "disk") == ["run.parquet"]


def test_no_room_for_the_first_word_leaves_no_file(far: Any, tmp_path: Path) -> None:
    run = a_run(far[1], save=str(tmp_path / "run.parquet"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(RecordingError, match="cannot write to"):
            run.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_goes_while_it_starts_ends_the_run(far: Any, tmp_path: Path) -> None:
    end, connection = far
    folder = tmp_path / "here"
    folder.mkdir()

    def start(end: FarEnd, run: int, message: Any, blob: bytes) -> None:
        shutil.rmtree(folder)
        started(end, run, message, blob)

    end.answers["start"] = start
    run = a_run(connection, save=str(folder / "run.parquet"))
    with pytest.raises(RecordingError, match=r"cannot write to .*here/run\.parquet"):
        run.start()
    assert run.state == "failed"
    assert run.wait(1)
    until(lambda: (end.asked[-1]["do"], end.asked[-1]["run"]) == ("stop", run._life.number))


def test_the_cell_run_again_takes_the_file_over(far: Any, tmp_path: Path) -> None:
    end, connection = far
    path = tmp_path / "run.parquet"
    old = a_run(connection, save=str(path)).start()
    end.rows(old._life.number, 1)
    new = a_run(connection, save=str(path)).start()
    end.rows(new._life.number, 2)
    until(lambda: new.stats.rows == 1 and old.stats.rows == 1)
    old.stop("replaced")
    assert kpmagic.load(path).df()["n"].tolist() == [2]
    new.stop()
    assert kpmagic.load(path).df()["n"].tolist() == [2]
    assert old.df()["n"].tolist() == [1]
    assert os.listdir(tmp_path) == ["run.parquet"]


def test_who_reads_only_the_beginning_leaves_nothing_open(far: Any, tmp_path: Path) -> None:
    end, connection = far
    run = a_run(connection, save=str(tmp_path / "run.parquet")).start()
    end.rows(run._life.number, 1, 2)
    until(lambda: run.stats.rows == 2)
    before = len(os.listdir("/proc/self/fd"))
    for steps in (1, 2):
        arrows = run.recording.arrows()
        for _ in range(steps):
            next(arrows)
        del arrows
    assert len(os.listdir("/proc/self/fd")) == before
    run.stop()


def test_a_lost_target_leaves_a_whole_recording(far: Any, tmp_path: Path) -> None:
    end, connection = far
    run = a_run(connection, view=CARD, save=str(tmp_path / "x")).start()
    end.rows(run._life.number, 1, 2)
    end.hang_up()
    assert run.wait(10)
    loaded = kpmagic.load(tmp_path / "x")
    assert (loaded.stopped_by, len(loaded.df())) == ("target-lost", 2)
    assert str(loaded) == str(run)


def test_a_full_disk_ends_the_run_and_keeps_its_rows(far: Any, tmp_path: Path) -> None:
    end, connection = far
    end.answers["stop"] = stopped_with_counters
    path = tmp_path / "run.parquet"
    run = a_run(connection, view=CARD, save=str(path)).start()
    end.rows(run._life.number, *range(20))
    until(lambda: run.stats.rows == 20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, before[1]))
        end.rows(run._life.number, *range(20, 60))
        assert run.wait(10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run.stopped_by == "disk-full"
    assert "could not be written any further" in str(run)
    assert run.df()["n"].tolist() == list(range(20))
    assert (run.stats.rows, run.stats.dropped, run.stats.balanced) == (20, 40, True)
    assert kpmagic.load(path).df()["n"].tolist() == list(range(20))
    assert os.listdir(tmp_path) == ["run.parquet"]


KILLED = """
import os, sys
sys.path[:0] = {path!r}
from far_end import FarEnd, a_run, started
from kpmagic.channel.connection import Connection
end = FarEnd({{"start": started}})
run = a_run(Connection(end), save={file!r}).start()
at = 0
while True:
    end.rows(run._life.number, *range(at, at + 100))
    end.counters(run._life.number, hits=at + 100, rows=at + 100)
    at += 100
    if run.stats.rows > 500:
        print("far enough", flush=True)
"""


def test_a_killed_notebook_leaves_all_rows_until_then(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    script = KILLED.format(path=[p for p in sys.path if p], file=str(path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"far enough\n"
        process.send_signal(signal.SIGKILL)
    loaded = kpmagic.load(path)
    numbers = loaded.df()["n"].to_numpy()
    assert len(numbers) > 500
    assert np.array_equal(numbers, np.arange(len(numbers)))
    assert loaded.stopped_by == "cut-off"
    assert loaded.stats.balanced
    assert "breaks off here" in str(loaded)
    assert os.listdir(tmp_path) == ["run.parquet"]


@pytest.mark.parametrize("missing", [1, 2, 3, 5, 40, 700])
def test_a_journal_is_read_to_its_last_whole_frame(far: Any, tmp_path: Path, missing: int) -> None:
    end, connection = far
    path = tmp_path / "x"
    run = a_run(connection, save=str(path)).start()
    for at in range(5):
        end.rows(run._life.number, at)
    until(lambda: run.stats.rows == 5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-missing])
    loaded = kpmagic.load(path)
    assert loaded.df()["n"].tolist() == [0, 1, 2, 3]
    changed = bytearray(whole)
    changed[-missing - 20] ^= 1
    path.write_bytes(changed)
    with pytest.raises(RecordingError, match="damaged"):
        kpmagic.load(path)


def test_an_interpreter_that_ends_leaves_a_whole_recording(tmp_path: Path) -> None:
    script = f"""
import sys
import threading
sys.path[:0] = {[p for p in sys.path if p]!r}
from far_end import FarEnd, a_run, started, stopped
from kpmagic.channel.connection import Connection
end = FarEnd({{"start": started, "stop": stopped}})
run = a_run(Connection(end), save={str(tmp_path / "x")!r}).start()
end.rows(run._life.number, 1, 2, 3)
while run.stats.rows < 3: pass
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)
    loaded = kpmagic.load(tmp_path / "x")
    assert loaded.df()["n"].tolist() == [1, 2, 3]
    assert loaded.stopped_by == "user"


def test_frames_of_two_threads_stand_one_behind_the_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x")
    threads = [threading.Thread(target=lambda: [journal.append(3, b"x" * 99) for _ in range(500)])
               for _ in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(read(journal.fd, journal.size)) == [(3, b"x" * 99)] * 2000
    journal.discard()


def test_memory_stays_as_it_is(tmp_path: Path) -> None:
    """Arrow's memory and Python's, 30 batches after 30: threads of others take some, once."""
    size = far_end.SIZE
    batch = b"".join(record(far_end.ROW, {"n": n}, size=size) for n in range(2000))
    spool = Spool(tmp_path / "x", lambda: Recording([far_end.ROW], [site("f")], size), b"{}")
    held = []
    tracemalloc.start()
    try:
        for count in (10, 30, 30, 30):
            for _ in range(count):
                spool.feed(batch)
            held.append((pa.total_allocated_bytes(), tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    assert spool.rows == 200_000
    grown = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(held)]
    assert min(arrow for arrow, _ in grown) <= 0
    assert min(python for _, python in grown) < 17_000
    assert len(spool.head(20)) == 20
    assert len(spool.df()) == 200_000
    spool.discard()
