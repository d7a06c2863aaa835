# SPDX-License-Identifier: MIT
"""A million events with three integers: what arrives, and that no Python runs per event."""

from __future__ import annotations

import sys
import threading
import time

import resident
from figures import Figures

import kpmagic

EVENTS = 1_000_000
COMMAND = f"dd if=/dev/zero of=/dev/null bs=10 count={EVENTS - 1000}"


def measure(figures: Figures) -> None:
    """Run the workload under a probe and make the DataFrame; count Python calls in all threads."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    threading.setprofile(count)  # for the connection's reader, which begins below
    connection = kpmagic.connect("sandbox")
    kpmagic.probe("vfs_read", "emit(count);", target=connection, command="true", follow=True).df()
    calls = 0  # what that first run imported is not of this one
    before, started = resident.now(), time.perf_counter()
    run = kpmagic.probe(
        "vfs_read", "emit(a = count, b = count, c = count);",
        target=connection, command=COMMAND, follow=True,
    )  # fmt: skip
    figures.add("workload with probe, s", time.perf_counter() - started)
    sys.setprofile(count)
    frame = run.df()
    sys.setprofile(None)
    threading.setprofile(None)
    columns = frame.memory_usage(deep=True).sum()
    figures.add("rows", len(frame))
    figures.add("dropped, as told", run.stats.dropped)
    figures.add("hits - rows - dropped", run.stats.hits - len(frame) - run.stats.dropped)
    figures.add("Python calls per event (all of them per batch)", calls / len(frame))
    figures.add("growth of the process / columns", (resident.now() - before) / columns)
    connection.close()
