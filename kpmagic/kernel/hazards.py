# SPDX-License-Identifier: MIT
"""Functions the kernel lets a return probe be planted on although that has hung machines."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Hazard:
    """Why, and who found out."""

    pattern: str
    why: str
    source: str


HAZARDS: tuple[Hazard, ...] = (
    Hazard(
        r"_raw_spin_lock|_raw_spin_lock_irqsave|_raw_spin_unlock_irqrestore"
        r"|queued_spin_lock_slowpath",
        "the probe's own bookkeeping takes spin locks",
        "bpftrace issue 534 and its recursion_check.cpp",
    ),
    Hazard(
        r"arch_cpu_idle|default_idle|rcu_\w+",
        "it runs where RCU is not watching, or is RCU itself",
        "linux/tools/testing/selftests/bpf, skipped by prog_tests/kprobe_multi_test.c",
    ),
)


def hazard(name: str) -> Hazard | None:
    """Return what speaks against a return probe on ``name``."""
    return next((h for h in HAZARDS if re.fullmatch(h.pattern, name)), None)
