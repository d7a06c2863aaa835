# SPDX-License-Identifier: MIT
"""Binder's environment, built in a plain directory, runs a lesson within Binder's limits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "binder"))

import rehearse  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="control groups and users take root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can enter, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="kpmagic-binder-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_what_apt_installs_there_is_known_here_too() -> None:
    assert rehearse.missing_packages() == []


@pytest.mark.kernel
@pytest.mark.timeout(900)
def test_the_first_lesson_runs_within_the_limits(folder: Path) -> None:
    script = [sys.executable, str(ROOT / "binder/rehearse.py"), str(folder)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = re.search(r"exit code 0 after .* as user (\d+); peak (\d+) MB of 1024", done.stdout)
    assert told, done.stdout[-1000:]
    assert "from a recording" not in done.stdout  # it ran live
    assert int(told[1]) != 0
    assert int(told[2]) < 1024


@pytest.mark.parametrize(("memory", "target"), [(512 << 20, "replay"), (1 << 30, "")])
def test_lessons_are_played_where_there_is_too_little_memory(
    memory: int, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script reads the limit where a container sees it: at the top of what it sees."""
    monkeypatch.setattr(rehearse, "MEMORY", memory)
    limits = rehearse.Limits()
    try:
        files = ("memory.max", "memory/memory.limit_in_bytes")
        binds = [["mount", "--bind", str(limits.group / limits.limit), f"/sys/fs/cgroup/{name}"]
                 for name in files if Path("/sys/fs/cgroup", name).exists()]  # fmt: skip
        steps = " && ".join(" ".join(each) for each in binds)
        inner = f"{steps} && exec binder/start sh -c 'echo target=$KPMAGIC_TARGET'"
        done = subprocess.run(["unshare", "-m", "sh", "-c", inner], cwd=ROOT, text=True,
                              capture_output=True, check=True)  # fmt: skip
    finally:
        limits.close()
    assert done.stdout == f"target={target}\n"
    assert bool(done.stderr) == bool(target)  # and it says so
