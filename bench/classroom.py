# SPDX-License-Identifier: MIT
"""Many sandboxes at once, as a class on one server has: time to ready, and memory, of each.

``python bench/classroom.py [N]``: N (10) processes, each a notebook's; booted, then as copies of
the saved machine. Ready: the agent has answered. First row: a probe's first hits have come back.
Memory: PSS of a process with its QEMU, which counts what is shared in equal parts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from figures import Figures

STUDENTS = 10


def student(saved: bool) -> None:
    """Be one notebook: start, run a cell, tell when each was done; end with the input."""
    import kpmagic
    from kpmagic.channel.connection import Connection
    from kpmagic.targets.sandbox import Sandbox

    connection = Connection(Sandbox(saved=saved))
    connection.wait_for_hello()
    print(time.perf_counter(), flush=True)
    run = kpmagic.probe("kernel_clone", "emit(args->flags);", target=connection,
                        command="/bin/true; /bin/true; /bin/true", follow=True)  # fmt: skip
    print(time.perf_counter() if run.stats.rows == 3 else f"{run}", flush=True)
    sys.stdin.read()
    connection.close()


def family(pid: int) -> list[int]:
    """Return a process and all it has started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        found += [each for child in children for each in family(int(child))]
    return found


def memory(pids: list[int]) -> float:
    """Return the PSS of processes, MB."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(figures: Figures, how: str, count: int) -> None:
    """Start ``count`` at once, wait until each has a row, weigh them, end them."""
    began = time.perf_counter()
    started = [subprocess.Popen([sys.executable, __file__, "--student", how], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
               for _ in range(count)]  # fmt: skip
    try:
        for word in ("ready", "row"):
            for each in started:
                line = each.stdout.readline() if each.stdout else ""
                seconds = float(line or "nan") - began  # one clock for all processes
                figures.add(f"{how}: {count} at once, {word}, s", seconds)
        for each in started:
            figures.add(f"{how}: memory of one among {count}, MB", memory(family(each.pid)))
    finally:
        for each in started:
            each.communicate()


def main(count: int) -> None:
    """Print the table."""
    figures = Figures()
    for how in ("booted", "copied"):
        if how == "copied":  # the saved machine is there
            measure(Figures(), how, 1)
        measure(figures, how, 1)
        measure(figures, how, count)
    print(figures.table())


if __name__ == "__main__":
    os.environ.setdefault("KPMAGIC_NONINTERACTIVE", "1")
    if sys.argv[1:2] == ["--student"]:
        student(saved=sys.argv[2] == "copied")
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else STUDENTS)
