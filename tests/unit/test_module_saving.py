# SPDX-License-Identifier: MIT
"""A module's run into a file, back, and played again."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
from damaged import refusals
from far_end import FarEnd, stopped

import kpmagic
from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.errors import AttachError, CellError, RecordingError, TargetError
from kpmagic.kp.stages import stage
from kpmagic.model import Artifact, Module, Options
from kpmagic.modules import build
from kpmagic.modules.run import ModuleRun
from kpmagic.view.module_card import MODULE_CARD

SOURCE = "int x;\n"
LOG = "6,1,1000,-;one\n4,2,2000,-;two \\xc3\\xa9"
OOPS = "BUG: kernel NULL pointer dereference\nRIP: 0010:handler_pre+0x5/0x20 [hello]\n"


def loaded(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    end.reply(run, message, {"load_ns": 5, "size": 16384})


@pytest.fixture
def far() -> Any:
    end = FarEnd({"insmod": loaded, "stop": stopped})
    with Connection(end) as connection:
        connection.wait_for_hello()
        yield end, connection


def a_module(connection: Connection, **options: Any) -> ModuleRun:
    chosen = Options(command="ls", max_time=0, **options)
    module = Module("hello", SOURCE, chosen, "In[3]")
    artifact = Artifact(build.source_of(module), b"", "gcc 12", 2.5, "abc")
    run = ModuleRun(connection, module, artifact, connection.release, MODULE_CARD)
    run.build_warnings = ["In[3], line 2: unused"]
    return run


def finished(far: Any) -> ModuleRun:
    end, connection = far
    run = a_module(connection).start()
    at = run._life.number
    for stream, text in (("kernel", LOG), ("stdout", "a\n"), ("agent", "beware")):
        end.say(wire.LOG, at, wire.pack_json({"stream": stream, "text": text}))
    end.end(at, "while", workload={"exit_code": 3})
    assert run.wait(5)
    return run


def same(one: Any, other: Any) -> None:
    for engine in ("pandas", "polars", "arrow"):
        assert other.df(engine).equals(one.df(engine)), engine
    for member in ("stats", "workload", "source", "stopped_by", "state", "remarks", "error", "name",
                   "options", "build_warnings", "last_words"):  # fmt: skip
        assert getattr(other, member) == getattr(one, member), member
    assert [stage(other, each) for each in ("source", "makefile", "plan")] == [
        stage(one, each) for each in ("source", "makefile", "plan")]  # fmt: skip


def test_a_loaded_run_has_the_same_members(far: Any, tmp_path: Path) -> None:
    run = finished(far)
    loaded = kpmagic.load(run.save(tmp_path / "a.parquet"))
    assert isinstance(loaded, ModuleRun)
    same(run, loaded)
    assert loaded.info == run.info
    assert str(loaded) == str(run)
    assert "two é" in str(loaded)
    assert loaded._repr_html_() == run._repr_html_()
    kpmagic.load(loaded.save(tmp_path / "b.parquet"))
    with pytest.raises(TargetError, match="cannot be started"):
        loaded.start()
    assert loaded.stop() is loaded


def test_a_cell_gets_what_it_got(far: Any, tmp_path: Path) -> None:
    run = finished(far)
    path = run.save(tmp_path / "a.parquet")
    with kpmagic.connect(f"replay:{path}") as target:
        again = kpmagic.module("hello", f"\n{SOURCE}", target=target, command="ls")
        same(run, again)
        assert "on replay 6.1.0-test" in str(again)
        with pytest.raises(TargetError, match=r"no recording of kmodule hello .*; there is"):
            kpmagic.module("hello", "int y;\n", target=target, command="ls")


def test_the_frames_of_an_oops_keep_their_lines(
    far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, connection = far
    run = a_module(connection).start()
    end.words = OOPS
    monkeypatch.setattr("kpmagic.modules.oops._line", lambda *_: 1)
    end.hang_up()
    assert run.wait(5)
    assert run.stopped_by == "target-lost"
    path = run.save(tmp_path / "a.parquet")
    frames = run.oops()
    monkeypatch.undo()
    loaded = kpmagic.load(path)
    assert isinstance(loaded, ModuleRun)
    assert loaded.oops() == frames
    assert [each.line for each in frames] == [2]
    same(run, loaded)
    with kpmagic.connect(f"replay:{path}") as target:
        again = kpmagic.module("hello", SOURCE, target=target, command="ls")
        assert again.oops() == frames


def test_every_module_is_recorded_if_all_are(
    far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_RECORD", str(tmp_path / "all"))
    run = finished(far)
    monkeypatch.delenv("KPMAGIC_RECORD")
    assert [file.name for file in (tmp_path / "all").iterdir()] == ["001-hello.parquet"]
    with kpmagic.connect(f"replay:{tmp_path / 'all'}") as target:
        same(run, kpmagic.module("hello", SOURCE, target=target, command="ls"))


def test_only_what_is_over_is_saved(far: Any, tmp_path: Path) -> None:
    _, connection = far
    run = a_module(connection)
    with pytest.raises(CellError, match="has not been loaded"):
        run.save(tmp_path / "a.parquet")
    with run.start(), pytest.raises(CellError, match="still loaded"):
        run.save(tmp_path / "a.parquet")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RecordingError, match="not overwritten"):
        run.save(tmp_path / "mine")


def test_an_error_is_recorded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kpmagic import answers

    module = Module("hello", SOURCE, Options())
    failure = answers.failure_of(AttachError("init returned -2", hint="--rename"))
    answers.add(tmp_path, answers.Answer(answers.of_module(module), failure=failure))
    with kpmagic.connect(f"replay:{tmp_path}") as target, pytest.raises(AttachError, match="-2"):
        kpmagic.module("hello", SOURCE, target=target)


def test_a_dry_run_shows_every_line_as_it_is_written(far: Any) -> None:
    source = f"static int f(void)\n{{\n\treturn 0; /* {'x' * 300} */\n}}\n"
    module = Module("hello", source, Options(dry_run=True), "In[3]")
    artifact = Artifact(build.source_of(module), b"", "gcc 12", 2.5, "abc")
    run = ModuleRun(far[1], module, artifact, "6.1.0-test", MODULE_CARD)
    for shown in (str(run), html.unescape(str(run._repr_html_()))):
        assert source.expandtabs().strip() in shown


def test_an_error_of_several_lines_keeps_them(far: Any) -> None:
    run = a_module(far[1])
    run.failure = AttachError("one\ntwo", hint="three")
    for shown in (str(run), html.unescape(str(run._repr_html_()))):
        assert "one\ntwo\n  hint: three" in shown


def test_it_has_the_members_of_every_run(far: Any, tmp_path: Path) -> None:
    run = finished(far)
    for refused in (run.plot, run.live, run.flame):
        with pytest.raises(CellError, match="a module's log"):
            refused()
    assert "hello" in repr(run.panel())
    assert run.aggregates == {}
    assert "two é" in run.export("csv", tmp_path / "log.csv").read_text()
    with pytest.raises(CellError, match="no stacks"):
        run.export("folded", tmp_path / "log.folded")


def test_a_wrong_byte_does_no_harm(far: Any, tmp_path: Path) -> None:
    def look(run: ModuleRun) -> None:
        str(run), run.df(), run._repr_html_(), run.stats, run.oops()

    whole = finished(far).save(tmp_path / "whole").read_bytes()
    assert refusals(whole, tmp_path / "changed", look) > 100
