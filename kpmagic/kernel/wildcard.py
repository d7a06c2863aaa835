# SPDX-License-Identifier: MIT
"""A shell pattern → the functions it stands for, and those of them that are left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kpmagic.errors import SymbolError
from kpmagic.kernel import syscalls
from kpmagic.kernel.facts import KernelFacts
from kpmagic.kernel.forbidden import deadly, forbidden
from kpmagic.kernel.kallsyms import Symbol
from kpmagic.kernel.suggest import glob_near
from kpmagic.model import LeftOut, Spec

MOST = 4096
_PARTS = (".cold", ".part.")


@dataclass
class Matches:
    """What a wildcard stands for on one kernel."""

    symbols: list[Symbol] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def expand(spec: Spec, facts: KernelFacts) -> Matches:
    """Return the functions of ``spec``, a name of an address each. Raises SymbolError."""
    return _sift(spec, facts.symbols.matching(spec.symbol, spec.module), facts)


def expand_calls(spec: Spec, facts: KernelFacts) -> Matches:
    """Return the functions that begin the system calls of ``spec``. Raises SymbolError."""
    names = syscalls.entries(syscalls.plain_name(spec), facts)
    return _sift(spec, (s for name in names for s in facts.symbols.find(name, "")), facts)


def _sift(spec: Spec, candidates: Iterable[Symbol], facts: KernelFacts) -> Matches:
    found = Matches()
    seen: set[int] = set()
    for symbol in candidates:
        if any(part in symbol.name for part in _PARTS) or symbol.name.startswith("__pfx_"):
            continue  # a piece of a function that has a name of its own, or the gap before one
        if symbol.address and symbol.address in seen:
            continue
        seen.add(symbol.address)
        why = forbidden(symbol, facts) or deadly(symbol)
        if why is None:
            found.symbols.append(symbol)
        else:
            found.left_out.append(LeftOut(symbol.name, why.why))
    _check(spec, found, facts)
    return found


def _check(spec: Spec, found: Matches, facts: KernelFacts) -> None:
    count = len(found.symbols)
    if count > MOST:
        raise SymbolError(
            f"{spec.text!r} stands for {count:,} functions; a probe takes at most {MOST:,}",
            hint=f"a narrower pattern; %kp symbols {spec.text!r} lists them",
        )
    if count:
        return
    if found.left_out:
        first = found.left_out[0]
        raise SymbolError(
            f"none of the {len(found.left_out)} functions {spec.text!r} stands for can be probed: "
            f"{first.name!r} is {first.why}",
            hint="probe functions that call them",
        )
    if spec.module == syscalls.MODULE:
        raise SymbolError(
            f"no system call {spec.symbol!r} in this kernel ({facts.release})",
            hint="%kp symbols '__*_sys_*' lists them",
        )
    where = f"module {spec.module!r}" if spec.module else f"this kernel ({facts.release})"
    raise SymbolError(
        f"no function matches {spec.text!r} in {where}",
        hint=f"%kp symbols {glob_near(spec.symbol.strip('*?'))!r} lists what comes near",
    )
