# SPDX-License-Identifier: MIT
"""``--mechanism``: a plan's places moved to where the kernel plants probes as it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .channel.connection import Connection
from .errors import AttachError, TargetError
from .kernel.forbidden import is_traceable
from .kernel.kallsyms import Symbol
from .kernel_code import code, codes
from .model import LeftOut, Plan, Site
from .planted.aim import HEAD, aimed, why_no_jump

if TYPE_CHECKING:
    from .kernel.facts import KernelFacts

LARGEST = 64 << 10  # bytes of a function that is looked through for jumps


def aim(plan: Plan, facts: KernelFacts, connection: Connection) -> Plan:
    """Return ``plan`` with its places where ``--mechanism`` can be had.

    Raises AttachError where it cannot, TargetError where the kernel's code cannot be read.
    """
    sites = plan.sites
    hidden = next((site for site in sites if not site.address), None)
    if hidden is not None:
        raise TargetError(f"--mechanism: the kernel hides the address of {hidden.symbol}",
                          hint="as root there: sysctl kernel.kptr_restrict=1")  # fmt: skip

    def traced(site: Site) -> bool:
        start = site.address - site.offset
        return is_traceable(Symbol(site.symbol, start, "t", site.module), facts)

    heads = codes(connection, [(site.address - site.offset, HEAD) for site in sites])
    found, left_out = [], []
    refused: AttachError | None = None
    for site, head in zip(sites, heads, strict=True):
        try:
            there = aimed(plan, site, head, traced)
            if plan.probe.options.mechanism == "jump":
                _check_jump(there, facts, connection)
            found.append(there)
        except AttachError as error:
            if not site.spec.wild:
                raise
            refused = refused or error
            left_out.append(LeftOut(site.symbol, f"refused ({error.message})"))
    if refused is not None and not found:
        raise refused
    return replace(plan, sites=tuple(found), left_out=(*plan.left_out, *left_out))


def _check_jump(site: Site, facts: KernelFacts, connection: Connection) -> None:
    """Raise AttachError when the optimiser's own rules forbid it."""
    begin = site.address - site.offset
    end = facts.symbols.end(begin)
    if end is None or end - begin > LARGEST:
        return
    whole = code(connection, begin, end - begin)
    why = why_no_jump(whole, begin, site.address, facts.symbols)
    if why:
        raise AttachError(f"--mechanism jump: the kernel makes no jump of {site.symbol}"
                          f"+{site.offset:#x}: {why}",
                          hint="another offset, or --mechanism int3")  # fmt: skip
