# SPDX-License-Identifier: MIT
"""Counts beside those of others: bpftrace's map and tracefs' own profile, on 20 workloads."""

from __future__ import annotations

import re
import runpy
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpmagic
from kpmagic.channel.connection import Connection

FUNCTIONS = list(runpy.run_path(str(Path(__file__).parent / "workloads/oracle.py"))["CALLS"])
CALLS = 503  # on each processor; those a library adds are counted by all three
TRACEFS = "/sys/kernel/tracing"
PATIENCE = 90.0  # s until bpftrace says that it counts


def is_return(function: str) -> bool:
    """Every other function is probed at its return."""
    return FUNCTIONS.index(function) % 2 == 1


def shell(sandbox: Connection, command: str) -> str:
    said: list[str] = []
    code = sandbox.run(command, lambda _, text: said.append(text))
    assert code == 0, "".join(said)
    return "".join(said)


@pytest.fixture
def bpftrace(sandbox: Connection) -> Iterator[Connection]:
    """A bpftrace that counts all functions, until SIGINT; its output is in /tmp/oracle."""
    if sandbox.run("command -v bpftrace >/dev/null"):
        pytest.skip("bpftrace is not installed on this machine")
    kinds = {name: "kretprobe" if is_return(name) else "kprobe" for name in FUNCTIONS}
    script = "\n".join(f"{kinds[name]}:{name} {{ @{name} = count(); }}" for name in FUNCTIONS)
    command = (
        "echo $$ >/tmp/oracle.pid; export BPFTRACE_STRLEN=64; "
        f"exec bpftrace -e 'BEGIN {{ printf(\"begun\\n\"); }} {script}' >/tmp/oracle 2>&1"
    )
    sandbox.ask("run", run=sandbox.new_number(), command=command)
    end = time.monotonic() + PATIENCE
    while sandbox.run("grep -q begun /tmp/oracle 2>/dev/null"):
        assert time.monotonic() < end, shell(sandbox, "cat /tmp/oracle")
        time.sleep(0.2)
    yield sandbox
    sandbox.run("kill -9 $(cat /tmp/oracle.pid) 2>/dev/null; rm -f /tmp/oracle /tmp/oracle.pid")


def counted_by_bpftrace(sandbox: Connection) -> dict[str, int]:
    """End bpftrace; return its counts."""
    shell(sandbox, "kill -INT $(cat /tmp/oracle.pid)")
    end = time.monotonic() + PATIENCE
    while sandbox.run("kill -0 $(cat /tmp/oracle.pid) 2>/dev/null") == 0:
        assert time.monotonic() < end, "bpftrace does not end"
        time.sleep(0.2)
    found = re.findall(r"@(\w+): (\d+)", shell(sandbox, "cat /tmp/oracle"))
    return {name: int(count) for name, count in found}


@pytest.fixture
def tracefs(sandbox: Connection) -> Iterator[None]:
    """An event of tracefs for each function."""
    for name in FUNCTIONS:
        kind = "r" if is_return(name) else "p"
        shell(sandbox, f"echo '{kind}:kporacle/e_{name} {name}' >>{TRACEFS}/kprobe_events")
    shell(sandbox, f"echo 1 >{TRACEFS}/events/kporacle/enable")
    yield
    shell(sandbox, f"echo 0 >{TRACEFS}/events/kporacle/enable")
    shell(sandbox, f"echo '-:kporacle/' >>{TRACEFS}/kprobe_events || for e in "
          f"{TRACEFS}/events/kporacle/e_*; do echo \"-:kporacle/${{e##*/}}\" "
          f">>{TRACEFS}/kprobe_events; done")  # fmt: skip


def counted_by_tracefs(sandbox: Connection) -> dict[str, int]:
    profile = shell(sandbox, f"cat {TRACEFS}/kprobe_profile")
    return {name: int(hits) for name, hits in re.findall(r"e_(\w+)\s+(\d+)", profile)}


def test_three_count_the_same(bpftrace: Connection, tracefs: None) -> None:
    sandbox = bpftrace
    ours = {}
    for name in FUNCTIONS:
        probe = kpmagic.retprobe if is_return(name) else kpmagic.probe
        command = f"exec python3 workloads/oracle.py {name} {CALLS}"
        run = probe(name, "count();", target=sandbox, command=command)
        assert run.workload is not None
        assert run.workload.exit_code == 0, run.workload.stderr
        assert run.stats.hits == run.aggregates["count()"]["count"].sum()
        ours[name] = run.stats.hits
    assert len(ours) == 20
    assert min(ours.values()) >= CALLS * sandbox.cpus
    assert counted_by_tracefs(sandbox) == ours
    assert counted_by_bpftrace(sandbox) == ours
