# SPDX-License-Identifier: MIT
"""Functions that no probe can, or should, be planted on."""

from __future__ import annotations

from dataclasses import dataclass

from kpmagic.kernel.facts import KernelFacts
from kpmagic.kernel.hazards import hazard
from kpmagic.kernel.kallsyms import Symbol


@dataclass(frozen=True)
class Forbidden:
    """Why not: ``message`` is a sentence, ``why`` what goes behind ``it is``."""

    why: str
    message: str
    hint: str


def forbidden(symbol: Symbol, facts: KernelFacts) -> Forbidden | None:
    """Return why the kernel refuses a probe on ``symbol``, None where it takes one."""
    if facts.blacklist.has(symbol.name, symbol.address):
        return Forbidden(
            "on the kernel's kprobe blacklist",
            f"{symbol.name!r} is on the kernel's kprobe blacklist",
            "the kernel refuses a probe there, for handling it could come there again, "
            "without end; probe a function that calls it",
        )
    if symbol.module and not facts.modules_read:
        return None
    return None if is_traceable(symbol, facts) else _untraceable(symbol, facts)


def is_traceable(symbol: Symbol, facts: KernelFacts) -> bool:
    """Say whether ftrace can trace a function, under this name or another."""
    known = facts.traceable
    if known is None or known.has(symbol.name, symbol.module):
        return True
    # of several names at one address (__x64_sys_getppid) ftrace lists the first only
    first = facts.symbols.at(symbol.address)
    return first is not None and known.has(first[0].name, symbol.module)


def _untraceable(symbol: Symbol, facts: KernelFacts) -> Forbidden:
    if facts.symbols.is_init(symbol):
        return Forbidden(
            "gone since the kernel has started (__init)",
            f"{symbol.name!r} is gone: it runs only while the kernel starts (__init)",
            "its code is freed after that; probe a function that runs later",
        )
    return Forbidden(
        "notrace",
        f"{symbol.name!r} is notrace: it is not in available_filter_functions",
        "the kernel keeps it out of tracing, and probes with it; probe a function that calls it",
    )


def deadly(symbol: Symbol) -> Forbidden | None:
    """Return why a return probe on ``symbol`` can hang the machine, None where it cannot."""
    reason = hazard(symbol.name)
    if reason is None:
        return None
    return Forbidden(
        "known to hang machines when it is probed",
        f"a return probe on {symbol.name!r} can hang the machine: {reason.why}",
        f"%%kprobe {symbol.name} works; source: {reason.source}",
    )
