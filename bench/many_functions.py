# SPDX-License-Identifier: MIT
"""How long 256 functions take to be probed, and to be as they were again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from figures import Figures

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.kernel.forbidden import forbidden
from kpmagic.targets.sandbox import Sandbox

COUNT, ROUNDS = 256, 3
TRACED = "/sys/kernel/debug/tracing/enabled_functions"
PROBES = {"entries": kpmagic.probe, "returns": kpmagic.retprobe}


def functions(connection: Connection) -> list[str]:
    """Return functions whose name is theirs alone."""
    facts = connection.facts()
    names = facts.functions("vfs_*") + facts.functions("tcp_*") + facts.functions("__x64_sys_*")
    symbols = (facts.symbols.find(name, "") for name in names)
    return [s[0].name for s in symbols if len(s) == 1 and forbidden(s[0], facts) is None][:COUNT]


def measure(figures: Figures, connection: Connection, version: str, what: str) -> None:
    """Probe all of them, stop, wait until the kernel traces nothing more."""
    names = functions(connection)
    before = time.perf_counter()
    run = PROBES[what](names, "count(f = func);", target=connection)
    attached = time.perf_counter()
    run.stop()
    told = time.perf_counter()
    while connection.read(TRACED):
        time.sleep(0.02)
    gone = time.perf_counter()
    of = f"{len(names)} {what} on {version}"
    figures.add(f"{of}: cell to attached, s", attached - before)
    figures.add(f"{of}: stop to its sums, s", told - attached)
    figures.add(f"{of}: stop to the last one gone, s", gone - attached)


def main(versions: list[str]) -> None:
    """Print a table for each of the kernels."""
    for version in versions:
        figures = Figures()
        with Connection(Sandbox(version, workdir=Path("/"))) as connection:
            connection.wait_for_hello()
            for what in PROBES:
                for _ in range(ROUNDS):
                    measure(figures, connection, version, what)
        print(figures.table())


if __name__ == "__main__":
    main(sys.argv[1:] or ["6.1", "6.12"])
