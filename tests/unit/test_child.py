# SPDX-License-Identifier: MIT
"""A program at whose other end an agent is: how it is sent to, and how it ends."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from runs import until

from kpmagic.targets import child
from kpmagic.targets.child import Child

# takes what it is sent, and at the end of that has something to undo
UNDOING = """
import signal, sys, time
signal.signal(signal.SIGTERM, {handler})
print(flush=True)
while sys.stdin.buffer.read(1 << 16): pass
time.sleep({seconds})
open(sys.argv[1], "w").close()
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "END_SECONDS", 0.1)


def undoing(done: Path, seconds: float, handler: str = "signal.SIG_DFL") -> Child:
    """Start a program that undoes something for so long."""
    text = UNDOING.format(seconds=seconds, handler=handler)
    program = Child("far", [sys.executable, "-I", "-S", "-c", text, str(done)])
    assert program.receive() == b"\n"
    return program


def test_an_agent_that_undoes_much_is_not_killed_at_it(tmp_path: Path) -> None:
    """As root the program is the agent itself: what it has not undone would stay in the kernel."""
    program = undoing(tmp_path / "done", 3.0)
    began = time.monotonic()
    program.close()
    program.close()
    assert time.monotonic() - began < 2.0
    assert program.alive
    assert program.wait(30.0) == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("handler", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_one_that_never_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    monkeypatch.setattr(child, "UNDO_SECONDS", 0.5)
    program = undoing(tmp_path / "done", 1000.0, handler)
    program.close()
    until(lambda: not program.alive)
    assert program.wait(0) == (-15 if handler.endswith("DFL") else -9)
