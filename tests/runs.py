# SPDX-License-Identifier: MIT
"""Runs with a card, on a target that is a few answers: one that has ended, one that goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from far_end import SIZE, FarEnd, a_run, started, stopped
from records import layout, record

from kpmagic.channel.connection import Connection
from kpmagic.record import CType
from kpmagic.view.card import CARD


def finished(
    *, rows: int = 23, comm: bytes = b"sh", more: dict[str, Any] | None = None, **options: Any
) -> Any:
    """A run that has ended, of so many rows."""

    def start(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
        started(end, run, message, blob)
        shape = layout(0, ("n", CType("int", 8)))
        end.say(4, run, b"".join(record(shape, {"n": n}, size=SIZE, comm=comm)
                                 for n in range(rows)))  # fmt: skip
        told = {"counters": {"hits": rows, "rows": rows}, "missed": 0}
        end.end(run, "while", **(told | (more or {})))

    connection = Connection(FarEnd({"start": start}))
    connection.wait_for_hello()
    run = a_run(connection, view=CARD, symbol="kernel_clone", **options).start()
    assert run.wait(5)
    return run


def running(name: str = "vfs_read", **answers: Any) -> Any:
    """A run that goes on, with 23 rows of 30 hits, 7 dropped."""

    def start(end: FarEnd, run: int, message: dict[str, Any], blob: bytes) -> None:
        started(end, run, message, blob)
        end.rows(run, *range(23))
        end.counters(run, hits=30, rows=23, dropped=7)

    connection = Connection(FarEnd({"start": start, "stop": stopped} | answers))
    connection.wait_for_hello()
    run = a_run(connection, view=CARD, name=name).start()
    until(lambda: run.stats.hits == 30)
    return run


def until(true: Callable[[], bool]) -> None:
    """Wait until ``true`` is; fail after 4 s."""
    for _ in range(200):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it has not come true")
