# SPDX-License-Identifier: MIT
"""Cells and lines from their magic to what they show, on a target whose agent is a script."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from far_end import HELLO, FarEnd, a_run, started, stopped
from IPython.core.interactiveshell import InteractiveShell

import kpmagic
from kpmagic import __main__ as shell_command
from kpmagic import session as sessions
from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.errors import AttachError, CellError, TargetError
from kpmagic.kp.commands import run_line
from kpmagic.model import Artifact, Module, Plan, Probe
from kpmagic.modules import build
from kpmagic.session import session

LOG = ["6,1,2500000,-;hello \x1b[31mred", "4,2,3000000,-;two"]
EVIL = "6.1\x1b]0;EVIL\x07"


def ends(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    """A probe that has two rows and ends by itself where a time was asked for."""
    started(end, run, message, blob)
    end.rows(run, 1, 2)
    if message["for_ns"]:
        end.end(run, "for", counters={"hits": 2, "rows": 2})


def loaded(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    end.reply(run, message, {"load_ns": 5, "size": 16384})
    text = "6,1,1000,-;one"
    end.say(wire.LOG, run, wire.pack_json({"stream": "kernel", "text": text}))
    if message["for_ns"]:
        end.end(run, "for")


def refuses(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    end.refuse(run, message, kind="module", message="module 'hello': no", errno=errno.ENOENT)


def log(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    end.reply(run, message, {"lines": LOG})


class Prepared(FarEnd):
    """A target for which every cell is built."""

    def __init__(self, name: str = "sandbox", release: str = "6.1.0-test") -> None:
        self.name = name
        super().__init__({"start": ends, "stop": stopped, "insmod": loaded, "log": log})
        self._bytes.get()
        self.say(wire.HELLO, 0, wire.pack_json({**HELLO, "release": release}))

    def prepared(self, asked: Probe) -> tuple[Plan, Artifact]:
        made = a_run(Connection(FarEnd()))
        return replace(made.plan, probe=asked), made.artifact

    def prepared_module(self, asked: Module) -> tuple[Any, Artifact]:
        artifact = Artifact(build.source_of(asked), b"", "gcc 12", 2.5, "abc")
        return SimpleNamespace(module=asked, release="6.1.0-test", warnings=()), artifact


@pytest.fixture
def shell() -> InteractiveShell:
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    return shell


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Connection]]:
    """The targets that cells have started, by name."""
    found: dict[str, Connection] = {}

    def connect(name: str, **_: object) -> Connection:
        found[name] = Connection(Prepared(name))
        found[name].wait_for_hello()
        return found[name]

    monkeypatch.setattr(sessions, "connect", connect)
    yield found
    session.close()


def test_a_target_may_be_that_of_one_cell(
    shell: InteractiveShell, targets: dict[str, Connection]
) -> None:
    cell = "%%kprobe vfs_read --for 1s"
    assert shell.run_cell(f"{cell} --target local -o there\nemit(n);").success
    assert list(targets) == ["local"]
    assert shell.run_cell(f"{cell} -o here\nemit(n);").success
    names = [shell.user_ns[name].connection.name for name in ("there", "here")]
    assert names == ["local", "sandbox"]


def test_a_card_without_a_table(
    shell: InteractiveShell, targets: dict[str, Connection], capsys: pytest.CaptureFixture[str]
) -> None:
    for show, shown in (("none", False), ("table", True), ("plot", True)):
        assert shell.run_cell(f"%%kprobe vfs_read --for 1s --show {show}\nemit(n);").success
        text = capsys.readouterr().out
        assert "2 rows  hits 2" in text
        assert ("time" in text) is shown, text


def test_a_module_is_there_for_a_time(
    shell: InteractiveShell, targets: dict[str, Connection], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.run_cell("%%kmodule hello --for 1h\nint x;").success
    asked = targets["sandbox"].target.asked[-1]
    assert (asked["for_ns"], asked["max_ns"]) == (3_600_000_000_000, None)
    text = capsys.readouterr().out
    assert "removed (--for)" in text
    assert "one" in text


def test_only_an_explicit_limit_ends_what_has_a_time(targets: dict[str, Connection]) -> None:
    kpmagic.probe("vfs_read", "emit(n);", duration="1h")
    assert targets["sandbox"].target.asked[-1]["max_ns"] is None
    kpmagic.probe("vfs_read", "emit(n);", duration="1h", max_time="2h")
    assert targets["sandbox"].target.asked[-1]["max_ns"] == 7_200_000_000_000


def test_the_log_of_the_kernel(
    targets: dict[str, Connection], capsys: pytest.CaptureFixture[str]
) -> None:
    run_line("dmesg")
    assert capsys.readouterr().out == "[    2.500000] hello red\n[    3.000000] two\n"


def test_a_stopped_probe_starts_again(targets: dict[str, Connection]) -> None:
    run = kpmagic.probe("vfs_read", "emit(n);", name="again", duration="1s")
    before = run._life.number
    assert run_line("start again") is run
    assert run.wait(5)
    assert run._life.number > before
    assert run.df()["n"].tolist() == [1, 2]


def test_a_module_that_does_not_go_in_again_says_why(targets: dict[str, Connection]) -> None:
    run = kpmagic.module("hello", "int x;", duration="1s")
    targets["sandbox"].target.answers["insmod"] = refuses
    with pytest.raises(AttachError, match="its init returned -2") as caught:
        run_line("start hello")
    assert type(caught.value) is AttachError
    assert run.failure is caught.value
    assert run.state == "failed"


@pytest.mark.parametrize("line", ["clean vfs_read", "list all", "doctor x", "dmesg 5", "panel 1"])
def test_what_takes_no_word_does_nothing_with_one(
    line: str, targets: dict[str, Connection]
) -> None:
    run = kpmagic.probe("vfs_read", "emit(n);")
    targets["sandbox"].target.answers["log"] = refuses
    with pytest.raises(CellError, match="takes nothing"):
        run_line(line)
    assert run.state == "running"


def test_in_a_shell_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell_command.main(["clean", "vfs_read"]) == 2
    assert "takes nothing" in capsys.readouterr().err


def test_a_tab_is_a_blank() -> None:
    with pytest.raises(CellError, match="no probe 'nothing'"):
        run_line("stop\tnothing")


@pytest.mark.parametrize("cpus", [0, "x", -1, 256, 1.5, True])
def test_a_sandbox_has_whole_processors(cpus: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpmagic.targets.kernels.fetch", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(TargetError, match="processors for a sandbox") as caught:
        sessions.connect("sandbox", cpus=cpus)
    assert "from 1 to 255" in caught.value.hint


def test_a_target_s_own_name_for_its_kernel_is_other_people_s_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Connection(Prepared("replay", EVIL)) as connection:
        connection.wait_for_hello()
        monkeypatch.setattr(sessions, "connect", lambda *_, **__: connection)
        run_line("target replay:there")
        run_line("target")
        print(repr(connection))
        session.close()
    printed = capsys.readouterr().out
    assert printed.splitlines()[:2] == ["replay 6.1", "replay 6.1"]
    assert "\x1b" not in printed


def test_names_of_functions_are_other_people_s_text(
    targets: dict[str, Connection],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = SimpleNamespace(functions=lambda *_: [f"vfs{EVIL}"])
    monkeypatch.setattr(Connection, "facts", lambda *_: facts)
    monkeypatch.setattr(Connection, "facts_with_modules", lambda _: facts)
    run_line("symbols vfs*")
    assert capsys.readouterr().out == "vfs6.1\n"


@pytest.mark.parametrize("words", [[], ["-q"]])
def test_a_quiet_shell_shows_no_card(
    words: list[str], targets: dict[str, Connection], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["probe", "vfs_read", "--body", "emit(n);", "--for", "1s", *words]
    assert shell_command.main(asked) == 0
    assert bool(capsys.readouterr().out) is not bool(words)
