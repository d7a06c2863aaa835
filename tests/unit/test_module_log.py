# SPDX-License-Identifier: MIT
"""A module that logs more than the notebook takes: the rest waits in the kernel."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from made import made

from kpmagic.agent import kmod, kmodule, sweep, wire
from kpmagic.agent.kmodule import ModuleSession
from kpmagic.agent.limits import Ends, Limits
from kpmagic.agent.slept import Slept
from kpmagic.agent.telling import Telling

FD = 5
LINE = "6,1,1,-;hello"


class Log:
    """The kernel's log, with lines that nobody has read yet."""

    fd, lost = FD, 0

    def __init__(self, lines: int) -> None:
        self.lines = lines

    def read(self) -> list[str]:
        taken, self.lines = min(self.lines, 10), max(0, self.lines - 10)
        return [LINE] * taken

    def close(self) -> None:
        pass


@pytest.fixture
def sent() -> list[int]:
    return []


@pytest.fixture
def session(sent: list[int], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(kmod, "remove", lambda _: None)
    monkeypatch.setattr(sweep, "module_is_over", lambda _: None)
    monkeypatch.setattr(kmodule, "Change", nullcontext)
    telling = Telling(SimpleNamespace(send=lambda type_, *_: sent.append(type_)), 1)
    return made(ModuleSession, number=1, ended=False, _telling=telling, _kmsg=Log(25), _reason="",
                _asked=SimpleNamespace(name="m"), _ends=Ends(Limits()), _error=None, _stopping=0.0,
                _workload=None, _slept=Slept(False))  # fmt: skip


def test_the_log_is_read_when_there_is_room(session: Any, sent: list[int]) -> None:
    assert session.waits_for(False) == []
    session.step(set())
    assert sent == []
    session.step(set(session.waits_for(True)))
    assert (sent, session._kmsg.lines) == ([wire.LOG], 15)


def test_at_the_end_all_of_it_is_sent(session: Any, sent: list[int]) -> None:
    session.stop("user")
    session.step(set())
    assert session.ended
    assert sent == [wire.LOG] * 3 + [wire.END]
