# SPDX-License-Identifier: MIT
"""When descriptors or processes run out on the way, what was there already is given back."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kpmagic.agent import cgroup, dying, optimiser, tool, workload
from kpmagic.agent.cgroup import Cgroup
from kpmagic.agent.optimiser import Held
from kpmagic.agent.refusal import Refused
from kpmagic.agent.tool import Tool
from kpmagic.agent.workload import Workload

CALLS = ((os, "pipe"), (os, "memfd_create"), (fcntl, "fcntl"), (os, "posix_spawn"),
         (os, "pidfd_open"))  # fmt: skip
MOST = 50


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def left(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let only so many more of CALLS be done."""

    def scarce(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls -= 1
            if calls < 0:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return call(*arguments, **named)

        return do

    for module, name in CALLS:
        monkeypatch.setattr(module, name, scarce(getattr(module, name)))


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # what is spawned changes it
    monkeypatch.setattr(dying, "children", set())
    before = descriptors()
    yield
    assert descriptors() == before
    end = time.monotonic() + 10
    while dying.children and time.monotonic() < end:
        dying.look()
    assert not dying.children


def command() -> Workload:
    return Workload(1, "true", None)


def other() -> Tool:
    return Tool("1.bcc", ["/bin/true"], b"script", [b"file"], fds=[0])


@pytest.mark.parametrize("make", [command, other])
def test_of_a_process_that_cannot_be_spawned(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = SimpleNamespace(add=lambda _: None, kill=lambda: None, end=lambda: None)
    monkeypatch.setattr(workload, "Cgroup", lambda _: group)
    monkeypatch.setattr(tool, "Cgroup", lambda _: group)
    before = descriptors()
    for calls in range(MOST):
        with monkeypatch.context() as patch:
            left(patch, calls)
            with contextlib.suppress(Refused):
                make().close()
                break
        assert descriptors() == before
    assert 5 < calls < MOST


@pytest.mark.parametrize("calls", [0, 1])
def test_of_a_cgroup_without_its_warden(
    calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "mount", lambda: str(tmp_path))
    monkeypatch.setattr(cgroup, "_warden", [])
    left(monkeypatch, calls)
    with pytest.raises(Refused):
        Cgroup("1")
    assert not list(tmp_path.iterdir())
    assert not cgroup._warden


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The switch of the optimiser, which is on."""
    path = tmp_path / "switch"
    path.write_text("1")
    monkeypatch.setattr(optimiser, "SWITCH", str(path))
    monkeypatch.setattr(optimiser, "NOTES", str(tmp_path / "notes"))
    return path


@pytest.mark.parametrize("calls", [0, 1])
def test_of_a_switch_without_its_guard(
    calls: int, switch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(monkeypatch, calls)
    with pytest.raises(Refused):
        Held().hold(1, "0")
    assert switch.read_text() == "1"
    assert not list(Path(optimiser.NOTES).iterdir())


def test_a_switch_that_others_move_too_has_one_guard(switch: Path) -> None:
    held = Held()
    held.hold(1, "0")
    guard = held._guard
    switch.write_text("1")
    held.hold(2, "0")
    assert switch.read_text() == "0"
    assert held._guard == guard
    held.release(1)
    assert switch.read_text() == "0"
    held.release(2)
    assert switch.read_text() == "1"
    assert not list(Path(optimiser.NOTES).iterdir())
