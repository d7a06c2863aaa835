# SPDX-License-Identifier: MIT
"""What a killed agent has left is removed by the next; what a living one has is not."""

from __future__ import annotations

import pytest

from kpmagic.connection import Connection

IDENTITY = "$PID.$(cut -d ' ' -f 22 /proc/$PID/stat)"
LEFT = """\
set -e
modprobe dummy
mkdir -p -m 700 /run/kpmagic-agents
PID={pid}
echo dummy >/run/kpmagic-agents/{identity}
mkdir /sys/fs/cgroup/kpmagic.{identity}.77
setsid sleep 1000 </dev/null >/dev/null 2>&1 &
echo $! >/sys/fs/cgroup/kpmagic.{identity}.77/cgroup.procs
"""
LOOK = "ls -d /sys/fs/cgroup/kpmagic.*.77; ls /run/kpmagic-agents; grep -o '^dummy' /proc/modules"


def said(connection: Connection, command: str) -> list[str]:
    pieces: list[str] = []
    connection.run(command, lambda _, text: pieces.append(text))
    return "".join(pieces).split()


@pytest.mark.parametrize("alive", [False, True])
def test_sweep(sandbox: Connection, alive: bool) -> None:
    pid = sandbox.hello["pid"] if alive else 999_999
    identity = IDENTITY if alive else "999999.4711"
    assert said(sandbox, LEFT.format(pid=pid, identity=identity)) == []
    answer, _ = sandbox.request("clean")
    if alive:
        assert answer["removed"] == []
        (cgroup, note, module) = said(sandbox, LOOK)
        assert module == "dummy"
        clear = f"echo 1 >{cgroup}/cgroup.kill; rm /run/kpmagic-agents/{note}; rmmod dummy"
        assert said(sandbox, f"{clear}; sleep 0.5; rmdir {cgroup}") == []
    else:
        cgroup = "/sys/fs/cgroup/kpmagic.999999.4711.77"
        assert answer["removed"] == [f"cgroup {cgroup}", "module dummy"]
    assert said(sandbox, f"({LOOK}) 2>/dev/null") == []


def test_what_is_in_use_is_told_and_stays(sandbox: Connection) -> None:
    """A module that something stands on: the next sweep removes it."""
    said(sandbox, "modprobe dummy; ip link add kp0 type dummy; exec 1>&2; true")
    note = "/run/kpmagic-agents/999999.4711"
    assert said(sandbox, f"mkdir -p -m 700 /run/kpmagic-agents; echo 9p dummy >{note}") == []
    first, _ = sandbox.request("clean")
    (kept,) = first["kept"]
    assert kept.startswith("module 9p: ")
    assert said(sandbox, f"cat {note}") == ["9p"]
    assert said(sandbox, f"rm {note}") == []
