# SPDX-License-Identifier: MIT
"""Several agents clean up at once. What they remove is tested on kernels."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kpmagic.agent import events, kmod, loop, optimiser, sweep
from kpmagic.agent.kmod import Loaded
from kpmagic.agent.refusal import Refused


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a dead agent noted: a module."""

    def mount() -> str:
        raise Refused("os", "cgroup v2 is not mounted")

    monkeypatch.setattr(sweep, "NOTES", str(tmp_path))
    monkeypatch.setattr(sweep, "mount", mount)
    monkeypatch.setattr(optimiser, "sweep", list)
    monkeypatch.setattr(events, "sweep", list)
    monkeypatch.setattr(kmod, "loaded", lambda _: Loaded(1, 0, (), "Live"))
    path = tmp_path / "999999.4711"
    path.write_text("dummy")
    return path


@pytest.mark.parametrize(
    ("error", "removed", "kept"),
    [(errno.ENOENT, ["module dummy"], []),
     (errno.EBUSY, [], [f"module dummy: {os.strerror(errno.EBUSY)}"])],
)  # fmt: skip
def test_a_module_that_another_agent_removes_is_out(
    note: Path, monkeypatch: pytest.MonkeyPatch, error: int, removed: list[str], kept: list[str]
) -> None:
    def remove(name: str) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(kmod, "remove", remove)
    assert sweep.sweep() == (removed, kept)
    assert note.exists() == bool(kept)


def test_a_note_that_another_agent_removes_is_gone(
    note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def late(path: str) -> None:
        unlink(path)
        unlink(path)

    monkeypatch.setattr(kmod, "remove", lambda _: None)
    monkeypatch.setattr(os, "unlink", late)
    assert sweep.sweep() == (["module dummy"], [])


def test_an_agent_starts_where_it_cannot_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(sweep, "sweep", fail)
    assert "sweep" in list(loop.prepare())
