# SPDX-License-Identifier: MIT
"""The runs that a notebook knows by name, on whatever targets they are."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from far_end import FarEnd, a_run, started, stopped

from kpmagic import session as sessions
from kpmagic.channel.connection import Connection
from kpmagic.errors import CellError, TargetError
from kpmagic.session import Session
from kpmagic.targets import kernels

find = kernels.find
a_kernel = kernels.Kernel("6.1", "6.1.0-test", Path(), Path(), None, None)


def test_a_name_is_its_newest_run_whichever_target_came_last() -> None:
    answers = {"start": started, "stop": stopped}
    with Connection(FarEnd(answers)) as first, Connection(FarEnd(answers)) as second:
        for each in (first, second):
            each.wait_for_hello()
        session = Session()
        runs = [a_run(connection) for connection in (first, second, first)]
        for run in runs:
            session.add(run)
        other = a_run(second, symbol="vfs_write")
        session.add(other)
        assert session.find("vfs_read") is runs[2]
        assert session.runs() == [runs[1], runs[2], other]
        session.add(again := a_run(second))
        assert session.find("vfs_read") is again


def test_a_start_that_fails_leaves_the_one_that_runs_to_be_found() -> None:
    with Connection(FarEnd({"start": started, "stop": stopped})) as connection:
        connection.wait_for_hello()
        session = Session()
        running, failed = a_run(connection).start(), a_run(connection)
        session.add(running)
        session.failed(failed)
        assert session.find("vfs_read") is running
        assert session.newest("vfs_read") is failed
        session.remove(running)
        assert running.state == "stopped"
        with pytest.raises(CellError, match="no probe 'vfs_read'"):
            session.find("vfs_read")


def test_one_that_did_not_start_is_found_where_there_is_no_other() -> None:
    with Connection(FarEnd({"start": started, "stop": stopped})) as connection:
        connection.wait_for_hello()
        session = Session()
        failed = a_run(connection)
        session.failed(failed)
        assert session.find("vfs_read") is session.newest("vfs_read") is failed
        session.add(failed.start())
        assert session.runs() == [failed]
        failed.stop()


def test_runs_are_stopped_when_their_target_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [FarEnd({"start": started, "stop": stopped}) for _ in range(3)]
    connections = [Connection(end) for end in ends]
    for connection in connections:
        connection.wait_for_hello()
    left = iter(connections)
    monkeypatch.setattr(sessions, "connect", lambda *_, **__: next(left))
    session = Session()
    session.add(first := a_run(session.use("sandbox")).start())
    session.add(second := a_run(session.use("sandbox")).start())
    assert (first.stopped_by, second.state) == ("user", "running")
    session.use(connections[2])
    assert second.stopped_by == "user"
    assert [end.alive for end in ends] == [False, False, True]
    session.close()


def test_a_new_target_is_kept_when_the_old_one_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections = [Connection(FarEnd()) for _ in range(2)]
    for connection in connections:
        connection.wait_for_hello()
    left = iter(connections)
    monkeypatch.setattr(sessions, "connect", lambda *_, **__: next(left))
    session = Session()
    session.use("sandbox")

    def close() -> None:
        raise TargetError("QEMU does not end")

    monkeypatch.setattr(connections[0], "close", close)
    with pytest.raises(TargetError, match="does not end"):
        session.use("sandbox")
    assert session.default is connections[1]
    session.close()
    assert not connections[1].alive


@pytest.mark.parametrize("name", [None, 7, ["sandbox"], Path("sandbox"), "sandboks"])
def test_what_is_no_target_is_refused(name: Any) -> None:
    for use in (sessions.connect, Session().use, Session()._by_name):
        with pytest.raises(TargetError, match="no target") as caught:
            use(name)
        assert "ssh://" in caught.value.hint


@pytest.mark.parametrize(("option", "text"), [
    ({"kernel": 6.3}, "no kernel '6.3'"), ({"kernel": Path("/no/one")}, "no kernel at '/no/one"),
    ({"memory": 5, "kernel": 6.1}, "no memory '5'"), ({"memory": 1.5, "kernel": 6.1}, "'1.5'"),
])  # fmt: skip
def test_numbers_are_read_as_they_are_written(
    option: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "fetch", lambda *_: None)
    monkeypatch.setattr(kernels, "find", lambda name: a_kernel if name == "6.1" else find(name))
    with pytest.raises(TargetError, match=text):
        sessions.connect("sandbox", **option)


def test_a_panel_may_look_while_a_cell_adds_a_run() -> None:
    """A panel whose look fails is dropped: it would stand still."""
    session = Session()
    with Connection(FarEnd()) as connection:
        connection.wait_for_hello()
        runs = [a_run(connection, name=f"run{at}") for at in range(300)]
        failed: list[Exception] = []
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                try:
                    session.runs()
                except Exception as error:
                    failed.append(error)
                    return

        interval = sys.getswitchinterval()
        panel = threading.Thread(target=look)
        sys.setswitchinterval(1e-6)
        panel.start()
        try:
            for _ in range(5):
                for run in runs:
                    session.add(run)
                for run in runs:
                    session.remove(run)
        finally:
            over.set()
            panel.join()
            sys.setswitchinterval(interval)
        assert not failed


class Named(FarEnd):
    """A target called ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()


def refused(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
    end.refuse(run, message, kind="os", message="not now")


def test_all_targets_end_also_behind_one_that_does_not_answer() -> None:
    deaf, other = FarEnd({"start": started, "stop": refused}), FarEnd()
    session = Session()
    with Connection(deaf) as first, Connection(other) as second:
        for connection in (first, second):
            connection.wait_for_hello()
        session.add(a_run(first).start())
        session._named["ssh://deaf"] = first
        session.use(second)
        session.close()
        assert (first.alive, second.alive) == (False, False)
        assert (session.runs(), session.connections) == ([], [])


def test_what_is_left_of_a_named_target_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[FarEnd] = []

    def connect(name: str, **_: object) -> Connection:
        ends.append(Named(name))
        return Connection(ends[-1])

    monkeypatch.setattr(sessions, "connect", connect)
    session = Session()
    session.connection("local")
    ends[0].hang_up()
    assert session.connection("local").alive
    assert ends[0].closed
    session.close()


def test_a_target_that_was_started_here_ends_when_another_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its virtual machine would run on, and nobody could end it."""
    monkeypatch.setattr(sessions, "connect", lambda name, **_: Connection(Named(name)))
    session = Session()
    made = session.connection()
    assert session.use(made) is made
    assert made.alive
    with Connection(Named("local")) as given, Connection(Named("local")) as other:
        session.use(given)
        assert not made.alive
        session.use(other)
        assert given.alive  # whoever has made it may use it yet


def test_a_name_never_means_another_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was made the default may lead to a kernel that nobody wants to risk."""
    asked: list[str] = []

    def connect(name: str, **_: object) -> Connection:
        asked.append(name)
        return Connection(Named(name))

    monkeypatch.setattr(sessions, "connect", connect)
    session = Session()
    with Connection(Named("local")) as local:
        session.use(local)
        assert session.connection("local") is session.connection() is local
        with session.connection("sandbox") as sandbox:
            assert sandbox.name == "sandbox"
    with session.connection() as again:  # of the same kind
        assert again.name == "local"
    assert asked == ["sandbox", "local"]
