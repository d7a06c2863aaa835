# SPDX-License-Identifier: MIT
"""Whoever is killed, within a second nothing of ours is left, and what survives has its rows."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

RUNNING = "%%kprobe vfs_read --bg -o run\nemit(count);"
SOME_ROWS = "%kp run cat /etc/hostname; sleep 1"


@pytest.fixture
def probing(open_notebook: Any, tmp_path: Path) -> Any:
    """A notebook of its own with a probe that has rows; its temporary files are in ``tmp_path``."""
    notebook = open_notebook(TMPDIR=str(tmp_path))
    notebook.run(RUNNING)
    notebook.run(SOME_ROWS)
    return notebook


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


def gone_within_a_second(processes: list[psutil.Process]) -> None:
    """Wait until none of the processes runs; fail with their names after a second."""
    _, left = psutil.wait_procs(processes, timeout=1.0)
    running = [each for each in left if each.status() != psutil.STATUS_ZOMBIE]
    assert running == []


def survived(notebook: Any) -> None:
    """The notebook has the rows of the lost probe, and a fresh sandbox for the next cell."""
    assert notebook.value("run.wait(5), run.stopped_by") == "(True, 'target-lost')"
    assert int(notebook.value("len(run.df())")) > 0
    assert notebook.value("run.stats.balanced") == "True"
    notebook.run("%%kprobe do_fork --while '/bin/true; exit' --follow -o again\nemit(pid);")
    assert notebook.value("len(again.df())") == "1"


def test_the_notebook_is_killed(probing: Any, tmp_path: Path) -> None:
    ours, before = descendants(probing.pid), mounts()
    assert any("qemu" in each.name() for each in ours)
    os.kill(probing.pid, signal.SIGKILL)
    gone_within_a_second(ours)
    assert mounts() == before
    assert list(tmp_path.iterdir()) == []


def test_qemu_is_killed(probing: Any, tmp_path: Path) -> None:
    ours = [each for each in descendants(probing.pid) if "qemu" in each.name()]
    assert len(ours) == 1
    ours[0].kill()
    gone_within_a_second(ours)
    survived(probing)


def test_the_agent_is_killed(probing: Any) -> None:
    ours = [each for each in descendants(probing.pid) if "qemu" in each.name()]
    pid = probing.value("run.connection.hello['pid']")
    probing.fails(f"%kp run kill -9 {pid}; sleep 9")
    gone_within_a_second(ours)
    survived(probing)


def test_a_notebook_that_is_restarted_leaves_nothing(probing: Any, tmp_path: Path) -> None:
    ours, before = descendants(probing.pid), mounts()
    os.kill(probing.pid, signal.SIGTERM)
    gone_within_a_second([psutil.Process(probing.pid), *ours])
    assert mounts() == before
