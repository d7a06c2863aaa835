# SPDX-License-Identifier: MIT
"""Runs that end badly, or are asked for what they have not: the agent goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made import made

from kpmagic.agent import dying, session, wire
from kpmagic.agent.cgroup import Cgroup
from kpmagic.agent.compiling import Compiling
from kpmagic.agent.descriptors import Descriptors
from kpmagic.agent.kmodule import ModuleSession
from kpmagic.agent.limits import Limits
from kpmagic.agent.loop import Agent
from kpmagic.agent.peer import Asked, PeerSession
from kpmagic.agent.refusal import Refused
from kpmagic.agent.tool import Tool
from kpmagic.agent.workload import Workload


class Out:
    """The stream to the notebook, and what went into it."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def send(self, type_: int, run: int, payload: bytes) -> None:
        assert type_ == wire.REPLY
        self.told.append(wire.unpack(payload)[0])


class Owner:
    """A run that may not let itself be undone."""

    def __init__(self, fails: bool) -> None:
        self.fails, self.closed = fails, False

    def close(self) -> None:
        self.closed = True
        if self.fails:
            raise OSError("no")


def test_a_process_that_does_not_die_ends_no_run_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dying, "groups", set())
    (tmp_path / "group" / "busy").mkdir(parents=True)  # as a cgroup is that has a process in it
    group = made(Cgroup, path=str(tmp_path / "group"))
    with pytest.raises(OSError, match="not empty"):
        group.remove()
    made(Workload, cgroup=group, _go=-1, _held=-1, _pidfd=-1, _streams={}).close()
    made(Tool, _cgroup=group, _pidfd=-1, _ours=Descriptors()).close()
    assert dying.groups == {group.path}


@pytest.mark.parametrize("word", ["aggregates", "planted"])
@pytest.mark.parametrize("kind", [Compiling, ModuleSession, PeerSession])
def test_what_a_run_has_not_is_refused(kind: type, word: str) -> None:
    out = Out()
    agent: Any = Agent(out)  # type: ignore[arg-type]
    agent.runs[7] = made(kind, _asked=Asked(b"", "bpftrace", None, None, Limits()))
    agent.answer(wire.Frame(wire.REQUEST, 7, wire.pack({"id": 3, "do": word})))
    assert [each["id"] for each in out.told] == [3]
    assert out.told[0]["error"]["kind"] == "request"


def test_a_start_that_is_refused_leaves_no_watch_of_mappings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is a descriptor for every CPU, and the agent stays."""
    watching = 0

    class Mappings(Owner):
        remark = ""

        def watch(self) -> None:
            nonlocal watching
            watching += 1

        def close(self) -> None:
            nonlocal watching
            watching -= 1

    def refuse(*_: object) -> None:
        raise Refused("permission", "no")

    left = SimpleNamespace(wait=lambda: None)
    fakes = {"Mappings": lambda *_: Mappings(False), "Cost": refuse, "make_room": lambda _: None,
             "Alarm": lambda: SimpleNamespace(leave=lambda: left, sings=None),
             "Watch": lambda _: SimpleNamespace(mechanism=None)}  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(session, name, fake)
    probes = SimpleNamespace(attach=dict, close=lambda: None)
    monkeypatch.setattr(session.Session, "_load", lambda *_: probes)
    asked: Any = SimpleNamespace(command=None, limits=Limits(), programs=(), mechanism="",
                                 module="", mappings=True, max_ppm=1)  # fmt: skip
    with pytest.raises(Refused):
        session.Session(Out(), 1, asked)  # type: ignore[arg-type]
    assert watching == 0


def test_everything_is_undone_behind_what_cannot_be() -> None:
    agent: Any = Agent(Out())  # type: ignore[arg-type]
    owners = [Owner(fails) for fails in (False, True, False, False)]
    agent.runs.update(enumerate(owners[:2]))
    agent.commands.update(enumerate(owners[2:], 2))
    with pytest.raises(OSError, match="no"):
        agent.close()
    assert all(owner.closed for owner in owners)
