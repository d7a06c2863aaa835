# SPDX-License-Identifier: MIT
"""What a run's handlers take of a CPU, and what is done when that is more than they may.

The kernel counts runs and time of each BPF program (struct bpf_prog_info: ``run_time_ns``,
``run_cnt``, since Linux 5.1) while somebody holds a descriptor of BPF_ENABLE_STATS (5.8) or
``kernel.bpf_stats_enabled`` is 1. A module's handlers measure themselves (bpf/frame.kmod.h).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from kpmagic.agent.gate import Gate
from kpmagic.agent.libbpf import enable_statistics, object_info
from kpmagic.agent.refusal import Refused
from kpmagic.agent.stillness import keeping_others

RUN_TIME, RUN_COUNT, PROGRAM_END = 192, 200, 208
SWITCH = "/proc/sys/kernel/bpf_stats_enabled"
MOST = 1024  # one hit in so many is the least that is recorded
STRIKES = 2  # looks in a row at which that was too much still: one may have been bad luck
SAMPLE = 1000  # runs tell what a run takes; the clock is not read at every hit for that
AGAIN_NS = 30_000_000_000  # after so long it may take something else
PART = 20  # a look at many programs may take one part in so many of the time
NOT_TOLD = (
    "--max-overhead: this kernel does not tell what programs cost, which needs CAP_SYS_ADMIN or "
    "sysctl kernel.bpf_stats_enabled=1"
)


class Spent(NamedTuple):
    """How often handlers ran, for how many ns, in ``elapsed_ns``: words of the wire's LOST."""

    runs: int
    busy_ns: int
    elapsed_ns: int


class Statistics:
    """The kernel's statistics of all BPF programs, on unless this pauses or is closed."""

    def __init__(self, programs: Iterable[int]) -> None:
        self._programs = list(programs)
        self._fd: int | None = None
        self.go_on()
        self._known = self._fd is not None or _switched_on()

    def go_on(self) -> None:
        """Have the kernel count, again after `close`."""
        if self._fd is None:
            with keeping_others():
                self._fd = enable_statistics()

    def spent(self) -> tuple[int, int] | None:
        """Return runs and ns of the programs since they were loaded; None: not told."""
        infos = [object_info(each, PROGRAM_END) for each in self._programs] if self._known else []
        if not infos or any(len(info) < PROGRAM_END for info in infos):
            return None
        return sum(_word(each, RUN_COUNT) for each in infos), sum(
            _word(each, RUN_TIME) for each in infos
        )

    def close(self) -> None:
        """Let the kernel stop counting."""
        if self._fd is not None:
            with keeping_others():
                os.close(self._fd)
            self._fd = None


def _switched_on() -> bool:
    try:
        with open(SWITCH, encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def _word(info: bytes, place: int) -> int:
    return int.from_bytes(info[place : place + 8], "little")


class Budget:
    """Holds a run to ``limit``, a share of one CPU: over it, one hit in ever more is recorded.

    That changes in one direction only, so that rows of a run differ little in their weight.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._last = Spent(0, 0, 0)
        self._strikes = 0
        self.one_in = 1

    @property
    def exceeded(self) -> bool:
        """Whether nothing is left but to end the run."""
        return self._strikes >= STRIKES

    def judge(self, now: Spent) -> str:
        """Look at the time since the last look; return what there is to say of the first one that
        was too much, otherwise ``""``."""
        elapsed = now.elapsed_ns - self._last.elapsed_ns
        busy = now.busy_ns - self._last.busy_ns
        if elapsed <= 0:
            return ""
        self._last = now
        share = busy / elapsed
        if share <= self._limit:
            self._strikes = 0
            return ""
        if self.one_in >= MOST:
            self._strikes += 1
            return ""
        first = self.one_in == 1
        enough = int(self.one_in * share / self._limit) + 1
        self.one_in = min(MOST, max(2 * self.one_in, enough))
        if not first:
            return ""
        return (
            f"{now.elapsed_ns / 1e9:.1f} s after its start the probe took {show(share)} of one CPU,"
            f" more than --max-overhead {show(self._limit)}: since then only some hits are recorded"
        )

    def last_words(self) -> str:
        """Return what there is to say at the end, or ``""``."""
        if self.one_in == 1:
            return ""
        return f"at the end one hit in {self.one_in} was recorded" + (
            ", and even that was more than --max-overhead allows" if self.exceeded else ""
        )


class Probes(Protocol):
    """What a run has in the kernel: probes.Probes, kmodprobes.ModuleProbes, bccprobes.BccProbes."""

    gate: Gate

    def spent(self) -> tuple[int, int] | None:
        """Return how often handlers have run, and for how many ns; None: not known."""

    def measure(self, on: bool) -> None:
        """Have the kernel count, or not: it reads a clock twice for each run."""


class Cost:
    """What one run has spent since its gate was opened, held to ``limit`` if that is not 0.

    Without a limit only some runs are measured, from time to time, and the others taken to be as
    long: reading the clock can take longer than a handler.
    """

    def __init__(self, probes: Probes, limit: float) -> None:
        """Have the kernel count. Raises Refused when a limit could not be held."""
        self._probes = probes
        self._opened = probes.spent()  # as the window that is measured now began
        self._before = (0, 0)  # runs and ns of the windows before it
        self._measuring = self._always = True
        self._until = SAMPLE  # runs at which a window may end
        self._again = self._began = self._next = 0
        self._last: Spent | None = None
        self._over = False
        self._budget = Budget(limit) if limit else None
        if limit and self._opened is None:
            raise Refused("permission", NOT_TOLD)

    def begin(self) -> None:
        """The gate opens now."""
        self._opened, self._began = self._probes.spent(), time.monotonic_ns()

    def ease(self) -> None:
        """Measure no more than it takes to know."""
        if self._budget is not None or self._opened is None or self._over:
            return
        if self._measuring and self._runs() >= self._until:
            self._before, self._measuring, self._always = self._measured(), False, False
            self._again = time.monotonic_ns() + AGAIN_NS
            self._probes.measure(False)
        elif not self._measuring and time.monotonic_ns() >= self._again:
            self._opened, self._measuring = self._probes.spent(), True
            self._until = self._runs() + SAMPLE
            self._probes.measure(True)

    def now(self) -> Spent | None:
        """Return what was spent, not newer than looking at it may cost; None: not known."""
        start = time.monotonic_ns()
        if not self._over and start >= self._next:
            self._look(start)
            end = time.monotonic_ns()
            self._next = end + PART * (end - start)
        return self._last

    def end(self) -> str:
        """The gate has been shut: no more will be spent; return what there is to say, or ``""``."""
        self._look(time.monotonic_ns())
        self._over = True
        return "" if self._budget is None else self._budget.last_words()

    def _runs(self) -> int:
        """Return how often handlers have run behind the open gate."""
        counters = self._probes.gate.counters()
        return counters["hits"] + counters["entries"]

    def _measured(self) -> tuple[int, int]:
        """Return runs and ns of all windows so far."""
        found = self._probes.spent() if self._measuring else None
        if found is None or self._opened is None:
            return self._before
        runs, busy = self._before
        return runs + found[0] - self._opened[0], busy + found[1] - self._opened[1]

    def _look(self, now: int) -> None:
        if self._opened is None:
            return
        runs, busy = self._measured()
        if not self._always and runs:
            all_runs = max(runs, self._runs())
            runs, busy = all_runs, busy * all_runs // runs
        self._last = Spent(runs, busy, now - self._began)

    def hold(self) -> str:
        """See that the limit is kept; return what there is to say about it, or ``""``."""
        if self._budget is None or self._last is None:
            return ""
        said = self._budget.judge(self._last)
        self._probes.gate.record_one_in(self._budget.one_in)
        return said

    @property
    def too_high(self) -> bool:
        """Whether nothing is left but to end the run."""
        return self._budget is not None and self._budget.exceeded


def show(share: float) -> str:
    """Return a share of one CPU in percent, three digits of it."""
    return f"{100 * share:.3g}%"
