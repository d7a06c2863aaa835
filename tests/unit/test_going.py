# SPDX-License-Identifier: MIT
"""How a run that has been answered begins: what counts from then on, and what if it cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from made import made

from kpmagic.agent import probes
from kpmagic.agent.probes import Probes
from kpmagic.agent.session import Session


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
    session = made(Session, _mappings=SimpleNamespace(remark=""), _ends=does("begin_limits"),
                   _workload=does("wait_until_held", "release"), _cost=does("begin_cost"),
                   _probes=planted, _asked=SimpleNamespace(config={"max_rows": 0}))  # fmt: skip
    session._ends.begin = session._ends.begin_limits
    session._cost.begin = session._cost.begin_cost
    session.go()
    assert done[-3:] == ["begin", "open", "release"]
    assert done[0] == "wait_until_held"
