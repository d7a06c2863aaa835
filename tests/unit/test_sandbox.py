# SPDX-License-Identifier: MIT
"""A sandbox that is ended: by its notebook, its heartbeat, or both at once."""

from __future__ import annotations

import errno
import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kpmagic.agent import wire
from kpmagic.errors import TargetError, TargetLost
from kpmagic.kp.cleaning import clean_cache
from kpmagic.targets import console, guest, kernels, saved_state
from kpmagic.targets.kernels import Kernel
from kpmagic.targets.local import Local
from kpmagic.targets.sandbox import Sandbox


class Guest:
    """A QEMU that takes a moment to end; its descriptors may be closed only once."""

    alive = True

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        time.sleep(0.2)


def test_two_notebooks_may_drop_the_oldest_log_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    paths = [console.Log("6.1").path for _ in range(console.KEEP)]
    glob = Path.glob

    def dropped_meanwhile(folder: Path, pattern: str) -> list[Path]:
        found = list(glob(folder, pattern))
        paths[0].unlink()
        return found

    monkeypatch.setattr(Path, "glob", dropped_meanwhile)
    assert console.Log("6.1").path.exists()


def test_where_nothing_can_be_locked_logs_stay_and_no_machine_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", no_locks)
    logs = [console.Log("6.1") for _ in range(console.KEEP + 1)]
    assert all(each.path.exists() for each in logs)
    monitor: Any = None
    assert not saved_state.save("one", monitor, -1)


@pytest.fixture
def no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook is in a folder that somebody has removed."""
    (tmp_path / "notebook").mkdir()
    monkeypatch.chdir(tmp_path / "notebook")
    (tmp_path / "notebook").rmdir()


@pytest.mark.parametrize("target", [Local, Sandbox])
@pytest.mark.usefixtures("no_folder")
def test_a_folder_that_has_been_removed_is_told(
    target: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel("6.1", "6.1.0-56-amd64", Path(), Path(), None, None)
    monkeypatch.setattr(kernels, "find", lambda _: kernel)
    with pytest.raises(TargetError, match="the notebook's folder has been removed") as caught:
        target()
    assert "%cd" in caught.value.hint


class Dying(Guest):
    """A QEMU that dies when its agent is spoken to."""

    monitor, ram = None, -1

    def wait_until_prepared(self, *_: object) -> bool:
        return True

    def greet(self, *_: object) -> bool:
        raise TargetLost("the sandbox is gone")

    def messages(self) -> str:
        return ""


class Copy:
    """A saved machine."""

    ram = -1

    def restore(self, monitor: object) -> None:
        """It comes up."""

    def close(self) -> None:
        """Its files."""


def test_a_copy_that_dies_as_it_greets_is_distrusted_and_a_fresh_one_booted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox: Any = Sandbox.__new__(Sandbox)
    sandbox._closing, sandbox._progress = threading.Lock(), None
    sandbox._exports, sandbox.cwd = [], "/tmp"
    guests: list[Dying] = []

    def new_guest(*_: object, **__: object) -> Dying:
        guests.append(Dying())
        sandbox._guest = guests[-1]
        return guests[-1]

    distrusted: list[str] = []
    sandbox._new_guest = new_guest
    monkeypatch.setattr(saved_state, "find", lambda _: Copy())
    monkeypatch.setattr(saved_state, "distrust", distrusted.append)
    assert not sandbox._restore("one", "tcg")
    assert distrusted == ["one"]
    assert sandbox.start_note.endswith("a fresh one was booted: the sandbox is gone")
    sandbox._progress = [].append
    sandbox.kernel = Kernel("6.1", "6.1.0-56-amd64", Path(), Path(), None, None)
    assert not sandbox._boot(b"", "tcg", "")
    assert [each.closed for each in guests] == [1, 1]


def test_another_notebook_may_empty_the_cache_while_it_boots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    booting: Any = guest.Guest.__new__(guest.Guest)
    booting.log, booting._ended = console.Log("6.1"), threading.Event()
    with booting.log.path.open("w") as qemu:
        assert any("console logs" in line for line in clean_cache())
        assert not booting.wait_until_prepared(0.05)
        qemu.write(wire.PREPARED)
    assert booting.wait_until_prepared(5.0)


def test_two_threads_that_end_it_close_it_once() -> None:
    sandbox: Any = Sandbox.__new__(Sandbox)
    guest = Guest()
    sandbox._guest, sandbox._closing = guest, threading.Lock()
    threads = [threading.Thread(target=sandbox.close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guest.closed == 1
    assert not sandbox.alive
