# SPDX-License-Identifier: MIT
"""A sandbox that is ended: by its notebook, its heartbeat, or both at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kpmagic.agent import wire
from kpmagic.kp.cleaning import clean_cache
from kpmagic.targets import console, guest
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
