# SPDX-License-Identifier: MIT
"""What a probe's hit costs, by each way into the kernel, as values that a recording can keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Rounds of one way: ``way`` is ``bpf kprobe`` or the like, ``probe`` what its handler does.

    ``place`` and ``mechanism`` are where and how the kernel has planted it. ``ns`` are what a hit
    has cost in each round, over the calls without a probe just before; ``hits`` and
    ``dropped`` are sums over the rounds, ``dropped`` -1 where nobody counts them.
    """

    way: str
    probe: str
    place: str
    mechanism: str
    ns: tuple[float, ...]
    hits: int
    dropped: int = 0


@dataclass(frozen=True)
class LeftAside:
    """A way that could not be measured, and why."""

    way: str
    probe: str
    why: str


@dataclass(frozen=True)
class Costs:
    """What probing ``symbol`` costs on one kernel.

    ``workload`` says what was run, ``calls`` how often in each round, ``bare`` are the ns of one
    without a probe, each time. ``broken_off``: an interrupt ended it before its last round.
    """

    symbol: str
    target: str
    release: str
    cpus: int
    workload: str
    calls: int
    bare: tuple[float, ...]
    samples: tuple[Sample, ...]
    aside: tuple[LeftAside, ...] = ()
    broken_off: bool = False
