# SPDX-License-Identifier: MIT
"""Functions that commands are in all the time are probed and left; kernel and commands go on.

An emulated kernel does not survive that by itself: see kpmagic/agent/stillness.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from samples import CLASSIC

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.errors import TargetLost

PATIENCE = 20.0  # s for the first hit
TIMES = 6  # with nobody standing still each of them was the kernel's end every second time
FLOOD = "for i in 1 2; do dd if=/dev/zero of=/dev/null bs=1 & done; wait"
FROZEN = "cat /sys/fs/cgroup/kpmagic.*/cgroup.freeze | sort -u"
PROBE, RETURN = ("kprobe", "vfs_read"), ("kretprobe", "vfs_read")
WAYS = {
    "bpf": (PROBE, {"backend": "bpf"}),
    "returns": (RETURN, {"backend": "bpf"}),
    "int3": (PROBE, {"mechanism": "int3"}),
    "kmod": (PROBE, {"backend": "kmod"}),
    "kmod-returns": (RETURN, {"backend": "kmod"}),
}


@pytest.fixture
def flooded(sandbox: Connection) -> Iterator[Connection]:
    """A sandbox in which two commands read and write all the time."""

    def flood() -> None:
        with suppress(TargetLost):
            sandbox.run(FLOOD)

    thread = threading.Thread(target=flood)
    thread.start()
    sandbox.run("until pgrep -x dd >/dev/null; do sleep 0.05; done")
    yield sandbox
    if sandbox.alive:
        sandbox.run("pkill -x dd")
    thread.join(10)
    assert not thread.is_alive()


def check(run: Any) -> None:
    """Raise TargetLost for a kernel that has died: one in a hundred does, all the same."""
    if run.stopped_by == "target-lost":
        raise TargetLost(str(run))
    assert run.stopped_by == "user"


def once(connection: Connection, way: str) -> int:
    """Plant, wait for hits, take out; return the hits."""
    (kind, symbol), options = WAYS[way]
    plant = kpmagic.probe if kind == "kprobe" else kpmagic.retprobe
    with plant(symbol, "count();", target=connection, **options) as run:
        end = time.monotonic() + PATIENCE
        while not run.stats.hits and time.monotonic() < end:
            time.sleep(0.05)
    check(run)
    return run.stats.hits


@pytest.mark.parametrize("way", WAYS)
def test_a_function_that_is_never_quiet(flooded: Connection, way: str) -> None:
    hits = [once(flooded, way) for _ in range(TIMES)]
    assert min(hits) > 0
    answer: list[str] = []
    assert flooded.run(FROZEN, lambda _, text: answer.append(text)) == 0
    assert "".join(answer).split() == ["0"]


def test_modules_of_ones_own(flooded: Connection) -> None:
    quiet = CLASSIC.replace("do_fork", "vfs_read").replace("printk(", "if (0) printk(")
    for number in range(TIMES):
        with kpmagic.module(f"own{number % 2}", quiet, target=flooded) as run:
            time.sleep(0.05)
        check(run)


def test_other_tracers(flooded: Connection) -> None:
    for _ in range(TIMES // 2):
        with kpmagic.bpftrace("kprobe:vfs_read { @ = count(); }", target=flooded) as run:
            time.sleep(0.05)
        check(run)
