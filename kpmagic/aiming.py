# SPDX-License-Identifier: MIT
"""Places in the kernel's code: moved as ``--mechanism`` asks, and noted where stacks end early."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .channel.connection import Connection
from .errors import AttachError, TargetError
from .kernel.forbidden import is_traceable
from .kernel.kallsyms import Symbol
from .kernel_code import codes
from .model import LeftOut, Plan, Site
from .planted.aim import HEAD, aimed, may_lose_callers, why_no_jump
from .planted.turns import Part, comes_by

if TYPE_CHECKING:
    from .kernel.facts import KernelFacts

LOST = (
    "{0.symbol}+{0.offset:#x}: kstack() may find no callers there, where a push or pop of one byte "
    "confuses the kernel's own walk"
)
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

    if plan.probe.options.mechanism == "ftrace":
        heads = codes(connection, [(_entry(site), HEAD) for site in sites])
        bodies = [[(_entry(site), head)] for site, head in zip(sites, heads, strict=True)]
    else:
        bodies = _bodies(sites, facts, connection)
    found, left_out = [], []
    refused: AttachError | None = None
    for site, parts in zip(sites, bodies, strict=True):
        try:
            there = aimed(plan, site, parts[0][1][:HEAD], lambda each: _is_traced(each, facts))
            _check(plan, site, there, parts, facts)
            found.append(there)
        except AttachError as error:
            if not site.spec.wild:
                raise
            refused = refused or error
            left_out.append(LeftOut(site.symbol, f"refused ({error.message})"))
    if refused is not None and not found:
        raise refused
    return replace(plan, sites=tuple(found), left_out=(*plan.left_out, *left_out))


def with_notes_on_stacks(plan: Plan, facts: KernelFacts, connection: Connection) -> Plan:
    """Return ``plan``, whose body walks the kernel's stack, with a note where that may fail."""
    asked = [site for site in plan.sites
             if site.address and (site.offset or not _is_traced(site, facts))]  # fmt: skip
    try:
        begins = codes(connection, [(site.address, 1) for site in asked])
    except TargetError:  # where code cannot be read nothing is known of it
        return plan
    noted = {
        site: replace(site, note="; ".join(filter(None, (site.note, LOST.format(site)))))
        for site, begin in zip(asked, begins, strict=True)
        if may_lose_callers(begin)
    }
    return replace(plan, sites=tuple(noted.get(site, site) for site in plan.sites))


def _is_traced(site: Site, facts: KernelFacts) -> bool:
    """Whether ftrace can call a probe from the entry of a site's function."""
    return is_traceable(Symbol(site.symbol, _entry(site), "t", site.module), facts)


def _entry(site: Site) -> int:
    return site.address - site.offset


def _size(address: int, facts: KernelFacts) -> int | None:
    """Return how many bytes the function at ``address`` has; None: not known, or too many."""
    end = facts.symbols.end(address)
    return None if end is None or end - address > LARGEST else end - address


def _bodies(
    sites: Sequence[Site], facts: KernelFacts, connection: Connection
) -> list[list[Part]]:
    """Return the code of each site's function: itself first, then its ``.cold``.

    Of one whose size is not known there is the beginning only. Raises TargetError.
    """
    cold: dict[tuple[str, str], list[int]] = {}
    for module in {site.module for site in sites}:
        for symbol in facts.symbols.matching("*.cold*", module):
            key = module, symbol.name.partition(".cold")[0]
            cold.setdefault(key, []).append(symbol.address)
    places = []
    for site in sites:
        parts = (cold.get((site.module, name), ()) for name in _names(site, facts))
        places.append([_entry(site), *itertools.chain.from_iterable(parts)])
    extents = [(at, _size(at, facts) or HEAD) for each in places for at in each]
    read = iter(zip(extents, codes(connection, extents), strict=True))
    return [[(at, code) for (at, _), code in itertools.islice(read, len(each))]
            for each in places]  # fmt: skip


def _names(site: Site, facts: KernelFacts) -> set[str]:
    """Return how a site's function is called: of several names one has a ``.cold``."""
    first = facts.symbols.at(_entry(site))
    return {site.symbol} if first is None else {site.symbol, first[0].name}


def _check(
    plan: Plan, asked: Site, there: Site, parts: Sequence[Part], facts: KernelFacts
) -> None:
    """Raise AttachError where a call would come by more than once, or no jump can be made."""
    mechanism, place = plan.probe.options.mechanism, f"{there.symbol}+{there.offset:#x}"
    begin, code = parts[0]
    is_whole = len(code) == _size(begin, facts)
    if there != asked:
        turn = comes_by(parts, there.address, facts.symbols) if is_whole else "what follows"
        if turn:
            raise AttachError(
                f"--mechanism {mechanism}: {turn} {'jumps' if is_whole else 'may jump'} back to "
                f"{place}, behind ftrace's call: a probe there would be hit at each turn",
                hint="leave --mechanism out: at the entry a call is one hit",
            )
    if mechanism == "jump" and is_whole:
        why = why_no_jump(code, begin, there.address, facts.symbols)
        if why:
            raise AttachError(f"--mechanism jump: the kernel makes no jump of {place}: {why}",
                              hint="another offset, or --mechanism int3")  # fmt: skip
