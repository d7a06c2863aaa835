# SPDX-License-Identifier: MIT
"""``python bench/run.py [--quick] [--only WORD]``: all in one run, A B A B, a page in build/bench.

``--quick`` measures what decides most with fewer turns. Exit code 1 when a ratio falls short.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
os.environ.setdefault("KPMAGIC_NONINTERACTIVE", "1")
os.chdir(ROOT)  # the sandbox's working directory: the programs that are built are in it

import alone  # noqa: E402
import chapters  # noqa: E402
import million  # noqa: E402
import tools  # noqa: E402
from figures import Figures  # noqa: E402
from machine import BUILT, Machine  # noqa: E402

from kpmagic.errors import TargetLost  # noqa: E402

EVENTS, QUICK_EVENTS = 1_000_000, 200_000
# What quick holds against, where what is wanted is not reached, or few turns are not surer: a hit
# beside libbpf C, the sandbox's start beside the bare kernel's, an event's cost beside BCC's
QUICK_HIT, QUICK_START, QUICK_EVENT = 1.3, 2.0, 1 / 8
SIDE_BY_SIDE = ["kpmagic bpf", "libbpf C", "kpmagic kmod", "bpftrace", "BCC perf buffer",
                "BCC ring buffer", "tracefs"]  # fmt: skip
HITS = ["kpmagic bpf", "libbpf C"]
DELIVERING = ["kpmagic bpf", "bpftrace", "BCC perf buffer", "BCC ring buffer"]

Step = tuple[str, Callable[[], None]]


def whole(figures: Figures, machine: Machine) -> Iterator[Step]:
    """Everything, in about half an hour."""
    newest = tools.with_newest(figures)
    yield "decoding", lambda: alone.decoding(figures, 7)
    yield "starting a sandbox", lambda: alone.starting(figures, 5)
    yield "attaching", lambda: chapters.attaching(machine, figures, 3)
    for shape in chapters.all_shapes():
        yield (
            f"a hit: {shape}",
            partial(chapters.hits, machine, figures, 5, [shape], [*SIDE_BY_SIDE, *newest]),
        )
    yield "delivery", lambda: chapters.delivery(machine, figures, 3, [*DELIVERING, *newest], EVENTS)
    yield "card and panel", lambda: alone.showing(figures)
    yield "a million rows", lambda: million.measure(figures)
    yield "memory", lambda: alone.memory(figures, [10**4, 10**5, 10**6, 10**7])


def quick(figures: Figures, machine: Machine) -> Iterator[Step]:
    """What decides most, in under five minutes."""
    yield "decoding", lambda: alone.decoding(figures, 5)
    yield "starting a sandbox", lambda: alone.starting(figures, 3, bound=QUICK_START)
    yield "attaching", lambda: chapters.attaching(machine, figures, 2)
    for shape in ("integers", "returned"):
        yield (
            f"a hit: {shape}",
            partial(chapters.hits, machine, figures, 4, [shape], HITS, bound=QUICK_HIT),
        )
    yield (
        "delivery",
        lambda: chapters.delivery(machine, figures, 1, DELIVERING[:3], QUICK_EVENTS, QUICK_EVENT),
    )


def take(figures: Figures, machine: Machine, steps: Iterable[Step], again: int) -> None:
    """Take the steps; one that has made a ratio fall short up to so often again.

    Its figures are added to those that are there: the more there are, the less one moves them.
    """
    for title, step in steps:
        short = set(figures.short)
        for turn in range(1 + again):
            print(f"bench: {title}{', again' if turn else ''} …", file=sys.stderr, flush=True)
            try:
                step()
            except TargetLost as error:  # emulated kernels die now and then: once more
                print(f"bench: {error.message}", file=sys.stderr, flush=True)
                machine.close()
                machine.start()
                step()
            figures.write(BUILT)
            if set(figures.short) <= short:
                break


def main(arguments: list[str]) -> int:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description="kpmagic beside bpftrace, BCC and libbpf C")
    parser.add_argument("--quick", action="store_true", help="what decides most, in five minutes")
    parser.add_argument("--only", metavar="WORD", default="", help="only steps of this name")
    given = parser.parse_args(arguments)
    figures = Figures()
    machine = Machine()
    try:
        if given.quick:
            steps, again = quick(figures, machine), 2
        else:
            steps, again = whole(figures, machine), 0
        chosen = [step for step in steps if given.only in step[0]]
        if not chosen:
            parser.error(f"no step has {given.only!r} in its name")
        take(figures, machine, chosen, again)
    finally:
        machine.close()
        print(figures.table())
    short = figures.short
    print("\n" + (f"falls short: {'; '.join(short)}" if short else "every ratio holds"))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
