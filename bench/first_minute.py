# SPDX-License-Identifier: MIT
"""How long a user waits: for the sandbox, and from running a cell to its probe being attached."""

from __future__ import annotations

import time

from figures import Figures

import kpmagic

BOOTS, CELLS = 3, 7


def measure(figures: Figures, boot: int) -> None:
    """Boot once; run new cells and the same cell again, by turns."""
    before = time.perf_counter()
    connection = kpmagic.connect("sandbox")
    connection.wait_for_hello()
    figures.add("connect to hello, s", time.perf_counter() - before)
    for number in range(CELLS):
        body = f"emit(count, tries = {time.time_ns()} + {boot});"
        name = "first cell of a boot" if number == 0 else "new cell"
        for which in (name, "cell built before"):
            figures.add(f"{which} to attached, s", _attached(connection, body))
    connection.close()


def _attached(connection: object, body: str) -> float:
    before = time.perf_counter()
    run = kpmagic.probe("vfs_read", body, target=connection)
    seconds = time.perf_counter() - before
    run.stop()
    return seconds


if __name__ == "__main__":
    found = Figures()
    for turn in range(BOOTS):
        measure(found, turn)
    print(found.table())
