# SPDX-License-Identifier: MIT
"""What a killed agent has left is removed by the next; what a living one has is not."""

from __future__ import annotations

import pytest

from kpmagic.channel.connection import Connection

IDENTITY = "$PID.$(cut -d ' ' -f 22 /proc/$PID/stat)"
LEFT = """\
set -e
modprobe dummy
mkdir -p -m 700 /run/kpmagic-agents
PID={pid}
echo dummy >/run/kpmagic-agents/{identity}
mkdir /sys/fs/cgroup/kpmagic.{identity}.left
setsid sleep 1000 </dev/null >/dev/null 2>&1 &
echo $! >/sys/fs/cgroup/kpmagic.{identity}.left/cgroup.procs
"""
LOOK = "ls -d /sys/fs/cgroup/kpmagic.*.left; ls /run/kpmagic-agents; grep -o '^dummy' /proc/modules"


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
        clear = f"kill -9 $(cat {cgroup}/cgroup.procs); rm /run/kpmagic-agents/{note}; rmmod dummy"
        gone = f"until rmdir {cgroup} 2>/dev/null; do sleep 0.05; done"
        assert said(sandbox, f"{clear}; {gone}") == []
    else:
        cgroup = "/sys/fs/cgroup/kpmagic.999999.4711.left"
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


EVENT = """\
set -e
cd /sys/kernel/tracing
echo 'p:kpmagic_{identity}/hit vfs_read' >> kprobe_events
mkdir instances/kpmagic_{identity}
echo 1 > instances/kpmagic_{identity}/events/kpmagic_{identity}/hit/enable
"""


@pytest.mark.parametrize("alive", [False, True])
def test_events_that_were_left(sandbox: Connection, alive: bool) -> None:
    pid = sandbox.hello["pid"] if alive else 999_999
    start = said(sandbox, f"cut -d ' ' -f 22 /proc/{pid}/stat")[0] if alive else "4711"
    name = f"kpmagic_{pid}_{start}"
    assert said(sandbox, EVENT.format(identity=f"{pid}_{start}")) == []
    removed = sandbox.request("clean")[0]["removed"]
    assert (f"event {name}/hit" in removed) is not alive
    look = f"ls /sys/kernel/tracing/instances; grep {name} /sys/kernel/tracing/kprobe_events"
    assert (said(sandbox, look) != []) is alive
    if alive:
        undo = (f"cd /sys/kernel/tracing; echo 0 > instances/{name}/events/enable; "
                f"rmdir instances/{name}; echo -:{name}/hit >> kprobe_events")  # fmt: skip
        assert said(sandbox, undo) == []
        assert said(sandbox, look) == []
