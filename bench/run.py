# SPDX-License-Identifier: MIT
"""``python bench/run.py [--quick]``: all of it in one run, A B A B, onto one page in build/bench.

``--quick`` measures what decides most with fewer turns. Exit code 1 when a ratio falls short.
"""

from __future__ import annotations

import os
import sys
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

EVENTS, QUICK_EVENTS = 1_000_000, 200_000
QUICK_BOUND = 1.25  # of what a hit costs: so few turns are not surer than that
SIDE_BY_SIDE = ["kpmagic bpf", "libbpf C", "kpmagic kmod", "bpftrace", "BCC perf buffer",
                "BCC ring buffer", "tracefs"]  # fmt: skip
DELIVERING = ["kpmagic bpf", "bpftrace", "BCC perf buffer", "BCC ring buffer"]


def whole(figures: Figures) -> None:
    """Everything, in about half an hour."""
    alone.decoding(figures, 7)
    alone.starting(figures, 5)
    machine = Machine()
    newest = tools.with_newest(figures)
    chapters.attaching(machine, figures, 3)
    chapters.hits(machine, figures, 5, chapters.all_shapes(), [*SIDE_BY_SIDE, *newest])
    chapters.delivery(machine, figures, 3, [*DELIVERING, *newest], EVENTS)
    machine.close()
    alone.showing(figures)
    million.measure(figures)
    alone.memory(figures, [10**4, 10**5, 10**6, 10**7])


def quick(figures: Figures) -> None:
    """What decides most, in under five minutes."""
    alone.decoding(figures, 5)
    alone.starting(figures, 3)
    machine = Machine()
    chapters.attaching(machine, figures, 2)
    chapters.hits(machine, figures, 4, ["integers", "returned"], ["kpmagic bpf", "libbpf C"],
                  bound=QUICK_BOUND)  # fmt: skip
    chapters.delivery(machine, figures, 1, DELIVERING[:3], QUICK_EVENTS)
    machine.close()


def main(arguments: list[str]) -> int:
    """Measure, print and write down."""
    BUILT.mkdir(parents=True, exist_ok=True)
    figures = Figures()
    try:
        (quick if "--quick" in arguments else whole)(figures)
    finally:
        figures.write(BUILT)
        print(figures.table())
    missed = [ratio.name for ratio in figures.ratios if not ratio.holds]
    print("\n" + (f"falls short: {'; '.join(missed)}" if missed else "every ratio holds"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
