# SPDX-License-Identifier: MIT
"""Measured side by side in one sandbox, A B A B: attaching, what a hit costs, what is delivered."""

from __future__ import annotations

import time

from figures import Figures
from machine import BUILT, CALLS, Machine
from tools import BPFTRACES, SHAPES, TOOLS, has, most_turns

import kpmagic

OURS, FLOOR = "kpmagic bpf", "libbpf C"
TIMES = 3  # what others deliver, where they lose
STACKS = 8000  # calls: their records are large, and a dropped one costs less
BODY = "emit(file = (u64)file, buf = (u64)buf, count, n = {n});"


def attaching(machine: Machine, figures: Figures, turns: int) -> None:
    """Time from the start of each tool, or of a cell, to the probe being there."""
    new, old = "start to attached, kpmagic, new cell, s", "start to attached, kpmagic, cached, s"
    for _ in range(turns):
        for _ in range(3):
            body = BODY.format(n=time.time_ns())
            figures.add(new, _attached(machine, body))
            figures.add(old, _attached(machine, body))
        for name, program in BPFTRACES.items():
            figures.add(f"start to attached, {name}, s", _bpftrace(machine, program))
    figures.add("start to attached, BCC, s", machine.bcc.seconds)
    bcc = machine.bcc.seconds
    figures.ratio("start to attached, new cell / BCC", figures.of(new) / bcc, 1 / 40, True)
    for name in BPFTRACES:
        theirs = figures.of(f"start to attached, {name}, s")
        figures.ratio(f"start to attached, new cell / {name}", figures.of(new) / theirs, 1 / 8,
                      True)  # fmt: skip
        figures.ratio(f"start to attached, cached / {name}", figures.of(old) / theirs, 1 / 15, True)


def _attached(machine: Machine, body: str) -> float:
    before = time.perf_counter()
    run = kpmagic.probe("vfs_read", body, target=machine.vm, name="bench")
    seconds = time.perf_counter() - before
    run.stop()
    return seconds


def _bpftrace(machine: Machine, program: str) -> float:
    """-c runs its program when all is attached, and that says when it began."""
    script = BUILT / "attached.bt"
    script.write_text(f"kprobe:vfs_read {{ {SHAPES['integers'][1]} }}")
    told = machine.timed(f"sh -c '{program} {script} -c \"{CALLS} 0\" >/tmp/events'")
    began = machine.shell("grep -aE '^[0-9.]+ [0-9.]+ [0-9]+ [0-9]+$' /tmp/events").split()[2]
    return (int(began) - told.started) / 1e9


def hits(machine: Machine, figures: Figures, turns: int, shapes: list[str], names: list[str],
         calls: int = 20_000, bound: float = 1.05) -> None:  # fmt: skip
    """Time that each tool adds to a call, for each shape of record."""
    for shape in shapes:
        these = STACKS if shape == "stack" else calls
        for turn in range(turns):
            figures.add("a call without a probe, ns", machine.bare(calls).quickest)
            for name in names:
                if has(name, shape) and turn < most_turns(name, turns):
                    took = TOOLS[name](machine, shape, these).workload.quickest
                    figures.add(f"a call with {shape}, {name}, ns", took)
    bare = figures.least("a call without a probe, ns")
    for shape in shapes:
        ours = figures.least(f"a call with {shape}, {OURS}, ns") - bare
        floor = figures.least(f"a call with {shape}, {FLOOR}, ns") - bare
        figures.ratio(f"added per hit, {shape}: bpf / libbpf C", ours / floor, bound, True,
                      f"{ours:.0f} ns to {floor:.0f} ns")  # fmt: skip
        for other in names:
            added = figures.least(f"a call with {shape}, {other}, ns") - bare
            if other not in (OURS, FLOOR) and added == added:
                figures.note(f"added per hit, {shape}: {other} {added:.0f} ns, "
                             f"{added / ours:.2f} × kpmagic bpf")  # fmt: skip


def delivery(machine: Machine, figures: Figures, turns: int, names: list[str], calls: int,
             bound: float = 1 / 50) -> None:  # fmt: skip
    """Events that arrive of a known number at full rate, and what is said of the others."""
    for name in names:  # what only the first run of each must do
        TOOLS[name](machine, "integers", 0)
    idle = {name: TOOLS[name](machine, "integers", 0) for name in names}  # starting and stopping
    for _ in range(turns):
        for name in names:
            got = TOOLS[name](machine, "integers", calls)
            figures.add(f"delivered of {calls:,}, {name}, %", 100 * min(1, got.delivered / calls))
            if got.lost is not None:
                figures.add(f"told to be lost of {calls:,}, {name}", got.lost)
            events = max(got.delivered, 1)
            guest = max(0, got.guest - idle[name].guest) / events
            host = max(0, got.host - idle[name].host) / events
            figures.add(f"consumer's time per event, {name}, ns", guest + host)
            if name == OURS:
                figures.add("of it in the sandbox, ns", guest)
                whole = got.delivered + (got.lost or 0) >= calls
                figures.ratio("delivered + told to be lost, of all", float(whole), 1, False)
    ours = figures.of(f"delivered of {calls:,}, {OURS}, %")
    for name in names:
        theirs = figures.of(f"delivered of {calls:,}, {name}, %")
        if name == OURS:
            continue
        if theirs < 100 / TIMES:
            figures.ratio(f"delivered / {name}", ours / theirs, TIMES, False)
        else:
            figures.note(f"{name} delivers {theirs:.0f} %: nobody can deliver {TIMES} times that")
    mine = figures.of(f"consumer's time per event, {OURS}, ns")
    for name, most in (("BCC perf buffer", bound), *((each, 1 / 10) for each in BPFTRACES)):
        if name in names:
            theirs = figures.of(f"consumer's time per event, {name}, ns")
            figures.ratio(f"consumer's time per event / {name}", mine / theirs, most, True)


def all_shapes() -> list[str]:
    """Return the names of all shapes."""
    return list(SHAPES)
