# SPDX-License-Identifier: MIT
"""Stopping a run whose target takes its time, or for ever."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from kpmagic import control
from kpmagic.errors import TargetError


class Life:
    """A life that nobody ends."""

    number, reason = 1, ""

    def __init__(self) -> None:
        self.ended = threading.Event()


class Target:
    """Answers that it will end the run, after which ``then`` happens."""

    def __init__(self, then: Any = None) -> None:
        self.then = then
        self.asked: list[str] = []

    def request(self, word: str, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        self.asked.append(f"{word} {arguments['reason']}")
        if self.then is not None:
            threading.Timer(0.05, self.then).start()
        return {}, b""


def run(target: Target, life: Life) -> Any:
    controlled: Any = control.Controlled()
    controlled.connection, controlled._life = target, life
    return controlled


def test_stop_returns_when_the_run_has_ended() -> None:
    life = Life()
    target = Target(life.ended.set)
    stopped = run(target, life)
    assert stopped.stop() is stopped
    assert life.ended.is_set()
    stopped.stop()
    assert target.asked == ["stop user"]


def test_a_run_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "STOP_PATIENCE", 0.05)
    with pytest.raises(TargetError, match="asked to end") as caught:
        run(Target(), Life()).stop()
    assert "run.wait()" in str(caught.value.hint)
