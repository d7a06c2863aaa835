# SPDX-License-Identifier: MIT
"""What does not die when it is killed is let go of when it has."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from kpmagic.agent import dying


@pytest.fixture(autouse=True)
def nothing_else_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dying, "children", set())
    monkeypatch.setattr(dying, "groups", set())


def test_a_child_is_waited_for_when_it_has_died() -> None:
    child = subprocess.Popen(["/bin/sleep", "600"])
    pidfd = os.pidfd_open(child.pid)
    dying.children.add(child.pid)
    dying.look()
    assert dying.children == {child.pid}
    os.kill(child.pid, signal.SIGKILL)
    assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT) is not None
    dying.look()
    assert dying.children == set()
    assert child.poll() == 0, "somebody else has waited for it"
    os.close(pidfd)


def test_a_group_is_removed_when_nothing_is_in_it(tmp_path: Path) -> None:
    group, gone = tmp_path / "group", tmp_path / "gone"
    inside = group / "inside"
    inside.mkdir(parents=True)
    dying.groups.update([str(group), str(gone)])
    dying.look()
    assert dying.groups == {str(group)}
    inside.rmdir()
    dying.look()
    assert dying.groups == set()
    assert not group.exists()
