# SPDX-License-Identifier: MIT
"""Many calls asleep at once, many functions, and a cell that is run again while it is hit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.kernel.forbidden import forbidden
from kpmagic.targets.sandbox import Sandbox

SLEEPERS = """exec /usr/bin/python3 -I -S -c '
import time
from threading import Thread, stack_size
stack_size(65536)
for _ in range({count}): Thread(target=time.sleep, args=(100,), daemon=True).start()
import signal; signal.pause()'"""
# six seconds at least: a busy machine plants a probe in one or two
UMASK = (
    "import os, time\n"
    "for number in range({count}):\n"
    "    os.umask(number)\n"
    "    if number % 1000 == 0: time.sleep(0.1)"
)
PATIENCE = 120.0
GETSID = "exec /usr/bin/python3 -I -S -c 'import os\nfor _ in range(2300): os.getsid(0)'"
ENABLED = "/sys/kernel/debug/tracing/enabled_functions"


@pytest.fixture(scope="module")
def large(fetched_kernel: str) -> Iterator[Connection]:
    """A sandbox with room for thousands of threads."""
    with Connection(Sandbox(fetched_kernel, memory="1G", workdir=Path("/"))) as connection:
        yield connection


@pytest.mark.parametrize("sleepers", [60, 500, 4000])
def test_sleepers_balance(large: Connection, sleepers: int) -> None:
    """All of the calls are inside when the probe is stopped, many more than maxactive."""
    run = kpmagic.retprobe("hrtimer_nanosleep", "emit(retval);", target=large, comm="python3")
    number = large.new_number()
    large.ask("run", run=number, command=SLEEPERS.format(count=sleepers))
    end = time.monotonic() + PATIENCE
    while (run.stats.entries or 0) < sleepers:
        assert time.monotonic() < end, run.stats
        time.sleep(0.1)
    stats = run.stop().stats
    large.request("kill", run=number)
    assert stats.entries == sleepers
    assert stats.entries == stats.hits + stats.unpaired + stats.in_flight
    assert stats.in_flight == sleepers


def test_a_probe_is_replaced_without_a_gap(sandbox: Connection) -> None:
    """Each call is seen by the old probe, or by the new one, or by both."""
    count = 60_000
    code = UMASK.format(count=count)
    options = {"target": sandbox, "name": "again", "comm": "python3"}
    runs = [kpmagic.probe("sys_umask", "emit(mask);", **options)]
    reply = sandbox.ask("run", run=sandbox.new_number(),
                        command=f"/usr/bin/python3 -I -S -c '{code}'")  # fmt: skip
    while not reply.done.is_set():
        runs.append(kpmagic.probe("sys_umask", "emit(mask);", **options))
        assert runs[-2].state == "stopped"
        time.sleep(0.2)
    runs[-1].stop()
    seen = {int(mask) for run in runs for mask in run.df()["mask"]}
    lost = sum(run.stats.dropped for run in runs)
    assert len(runs) > 2
    assert [run.stopped_by for run in runs] == ["replaced"] * (len(runs) - 1) + ["user"]
    assert (len(seen), lost) == (count, 0)


def some_functions(connection: Connection, count: int) -> list[str]:
    """So many functions that are there once each; getsid is one of them."""
    facts = connection.facts()
    found = ["__x64_sys_getsid"]
    for name in facts.functions("__x64_sys_[a-f]*") + facts.functions("vfs_*"):
        symbols = facts.symbols.find(name, "")
        if len(symbols) == 1 and forbidden(symbols[0], facts) is None:
            found.append(name)
    found += [name for name in facts.functions("tcp_*") if len(facts.symbols.find(name, "")) == 1]
    return found[:count]


@pytest.mark.parametrize("probe", [kpmagic.probe, kpmagic.retprobe])
def test_256_functions(sandbox: Connection, probe: Callable[..., kpmagic.Run]) -> None:
    """They count exactly; when they are gone the kernel traces no function any more."""
    names = some_functions(sandbox, 256)
    run = probe(names, "count(f = func);", target=sandbox, command=GETSID, follow=True)
    counted = run.aggregates["count(f = func)"].set_index("f")["count"]
    assert len({each["address"] for each in run.info["attached"]}) == 256
    assert counted["__x64_sys_getsid"] == 2300
    assert counted.sum() == run.stats.hits - run.stats.filtered
    end = time.monotonic() + PATIENCE
    while sandbox.read(ENABLED):
        assert time.monotonic() < end
        time.sleep(0.1)
