# SPDX-License-Identifier: MIT
"""How a run that has been answered begins: what counts from then on, and what if it cannot."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from made import made

from kpmagic.agent import compiling, kmodule, probes, session, wire
from kpmagic.agent.loop import Agent
from kpmagic.agent.probes import Probes
from kpmagic.agent.refusal import Refused
from kpmagic.agent.workload import Workload


def test_what_was_missed_before_the_gate_was_opened_is_not_the_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter([{"probe": 5, "return": 1}, {"probe": 6, "return": 1}])
    monkeypatch.setattr(probes, "count_missed", lambda *_: next(counts))
    object_ = SimpleNamespace(program_fds=list)
    found = made(Probes, _links=[], _object=object_, _missed_before=None)
    found.begin()
    assert found.missed() == {"probe": 1, "return": 0}


def test_counting_begins_when_all_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Last before the gate: waiting for the command may take seconds."""
    done: list[str] = []

    def does(*names: str) -> Any:
        return SimpleNamespace(**{name: lambda *_, name=name: done.append(name) for name in names})

    planted = does("begin")
    planted.gate = does("open")
    run = made(session.Session, _mappings=SimpleNamespace(remark=""), _ends=does("begin_limits"),
               _telling=SimpleNamespace(remark=lambda _: None),
               _workload=does("wait_until_held", "release"), _cost=does("begin_cost"),
               _probes=planted, _asked=SimpleNamespace(config={"max_rows": 0}))  # fmt: skip
    run._ends.begin = run._ends.begin_limits
    run._cost.begin = run._cost.begin_cost
    run.go()
    assert done[-3:] == ["begin", "open", "release"]
    assert done[0] == "wait_until_held"


def test_a_command_that_died_while_it_was_held_back_is_no_error() -> None:
    source, sink = os.pipe()
    os.close(source)
    workload = made(Workload, _go=sink, _held=-1)
    workload.release()
    assert workload._go == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sink)


class Lame:
    """A run that is started, and then cannot go on."""

    number, started = 7, {"attached": []}
    error: Exception
    ends: ClassVar[list[str]] = []

    def __init__(self, *_: object) -> None:
        self.ended = False

    def go(self) -> None:
        raise self.error

    def fail(self, why: Exception) -> None:
        self.ends.append(str(why))
        self.ended = True


START = {"do": "start", "programs": [{"program": "p", "symbol": "s"}], "record": 8, "buffer": 4096}
INSERT = {"do": "insmod", "name": "m"}
TOOL = SimpleNamespace(look=lambda: None, output=-1, exit_code=None, heard=lambda: b"attached",
                       errors=SimpleNamespace(read=str))  # fmt: skip


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), Refused("os", "no")])
@pytest.mark.parametrize("asked", [START, START | {"bcc": True}, INSERT])
def test_a_run_that_cannot_go_ends_once_and_has_one_answer(
    asked: dict[str, Any], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lame, "ends", [])
    monkeypatch.setattr(Lame, "error", error, raising=False)
    monkeypatch.setattr(session, "Session", Lame)
    monkeypatch.setattr(kmodule, "ModuleSession", Lame)
    monkeypatch.setattr(compiling, "Session", Lame)
    monkeypatch.setattr(compiling, "BccProbes", lambda *_: SimpleNamespace(tool=TOOL))
    sent: list[dict[str, Any]] = []
    out: Any = SimpleNamespace(send=lambda _, run, payload: sent.append(wire.unpack(payload)[0]))
    agent = Agent(out)
    agent.answer(wire.Frame(wire.REQUEST, 7, wire.pack({"id": 3, **asked})))
    for run in list(agent.runs.values()):
        agent.step(run, set())  # of one that BCC compiles
    assert sent == [{"id": 3, "ok": Lame.started}]
    assert len(Lame.ends) == 1
    assert not agent.runs
