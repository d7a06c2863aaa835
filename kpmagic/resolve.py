# SPDX-License-Identifier: MIT
"""Probe + KernelFacts → Plan: where each SPEC is on this kernel, or why it cannot be probed.

The kernel's own errors are few (EINVAL, ENOENT) and come late; each reason is found out here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from kpmagic.cell.fields import with_columns
from kpmagic.errors import SymbolError
from kpmagic.kernel import syscalls
from kpmagic.kernel.facts import KernelFacts
from kpmagic.kernel.forbidden import Forbidden, deadly, forbidden
from kpmagic.kernel.kallsyms import Symbol
from kpmagic.kernel.renames import history, renamed
from kpmagic.kernel.suggest import glob_near, similar
from kpmagic.kernel.wildcard import MOST, expand, expand_calls
from kpmagic.model import Function, Kind, LeftOut, Plan, Probe, Site, Spec


def resolve(probe: Probe, facts: KernelFacts) -> Plan:
    """Return where the probe goes on the kernel of ``facts``. Raises SymbolError."""
    sites: dict[tuple[str, int, int], Site] = {}
    left_out: list[LeftOut] = []
    for spec in probe.specs:
        found, without = _sites(spec, probe, facts)
        left_out += without
        for site in found:
            # a function that two specs name is probed once
            sites.setdefault((site.symbol, site.offset, site.address), site)
    _check_count(len(sites))
    settled, misfits = with_columns(probe, tuple(_settled(sites.values())), facts)
    left_out += misfits
    return Plan(
        probe,
        settled,
        facts.release,
        facts.build_id,
        facts.cpus,
        tuple(left_out),
        facts.features,
    )


def _settled(sites: Collection[Site]) -> Iterator[Site]:
    """Yield the sites of a probe as they stand together.

    Of several the kernel need not look for each name again. One object can have the types of one
    module only: of the functions of another, nothing but the registers is known.
    """
    typed = next((site.module for site in sites if site.module and site.function), "")
    for site in sites:
        exact = site.exact or (len(sites) > 1 and site.address != 0)
        function = site.function if site.module in ("", typed) else None
        yield replace(site, exact=exact, function=function)


def _check_count(count: int) -> None:
    if count > MOST:
        raise SymbolError(
            f"{count:,} functions are too many; a probe takes at most {MOST:,}",
            hint="a narrower pattern, or several probes",
        )


def needs_modules(probe: Probe, facts: KernelFacts) -> bool:
    """Say whether ``facts`` must have the symbols of loaded modules to resolve the probe."""
    return not facts.modules_read and any(_in_module(spec, facts) for spec in probe.specs)


def _in_module(spec: Spec, facts: KernelFacts) -> bool:
    if syscalls.is_call(spec, facts):
        return False
    if spec.module or spec.wild:
        return bool(spec.module)
    if spec.address:
        return facts.symbols.at(spec.address) is None
    symbols = facts.symbols
    known = spec.symbol in symbols or renamed(spec.symbol, symbols.__contains__)
    return not (known or spec.symbol in facts.inline or symbols.variants(spec.symbol))


def _sites(spec: Spec, probe: Probe, facts: KernelFacts) -> tuple[list[Site], list[LeftOut]]:
    """Return the places a SPEC stands for, and the functions a wildcard leaves out."""
    is_call = syscalls.is_call(spec, facts)
    if not spec.wild and not is_call:
        return list(_plain_sites(spec, probe, facts)), []
    if spec.offset:
        raise SymbolError(
            f"{spec.text!r}: "
            + ("a pattern cannot have an offset" if spec.wild else "no offset in a system call"),
            hint="name the function itself for an offset: %kp symbols lists them",
        )
    if is_call:
        matches = expand_calls(spec, facts)
        return [_call_site(spec, symbol, facts) for symbol in matches.symbols], matches.left_out
    _check_module(spec, facts)
    matches = expand(spec, facts)
    return [_named(spec, symbol, facts) for symbol in matches.symbols], matches.left_out


def _named(spec: Spec, symbol: Symbol, facts: KernelFacts) -> Site:
    """Return the entry of a function that a wildcard found."""
    function = _function(symbol, facts)
    return Site(spec, symbol.name, 0, symbol.address, function, module=symbol.module)


def _call_site(spec: Spec, symbol: Symbol, facts: KernelFacts) -> Site:
    """Return the entry of a system call, with the call's own arguments."""
    note = "" if spec.wild else f"{spec.text} → {symbol.name}: where the system call begins here"
    function = facts.syscalls.get(syscalls.call_of(symbol.name))
    return Site(spec, symbol.name, 0, symbol.address, function, note)


def _plain_sites(spec: Spec, probe: Probe, facts: KernelFacts) -> Iterator[Site]:
    """Yield the place, or with --all-addresses the places, of a SPEC that is no wildcard."""
    if not spec.address:
        symbols, note = _by_name(spec, facts)
        if len(symbols) > 1 and not (probe.options.all_addresses and symbols[0].address):
            raise _several(symbols[0].name, symbols)
        for symbol in symbols:
            yield _site(spec, probe.kind, symbol, spec.offset, note, facts)
        return
    at, offset = _by_address(spec, facts)
    if at is None:
        yield Site(spec, "", 0, spec.address, None, exact=True)
    else:
        yield _site(spec, probe.kind, at, offset, "", facts)


def _site(
    spec: Spec, kind: Kind, symbol: Symbol, offset: int, note: str, facts: KernelFacts
) -> Site:
    _refuse(forbidden(symbol, facts))
    _check_offset(symbol, offset, kind, facts)
    if kind == "kretprobe":
        _refuse(deadly(symbol))
    address = symbol.address + offset if symbol.address else 0
    function = _function(symbol, facts)
    if function is not None and not note and "." in symbol.name:
        note = f"{symbol.name}: arguments as in the source; the compiler may pass them otherwise"
    return Site(
        spec,
        symbol.name,
        offset,
        address,
        function,
        note,
        exact=bool(spec.address),
        module=symbol.module,
    )


def _refuse(why: Forbidden | None) -> None:
    if why is not None:
        raise SymbolError(why.message, hint=why.hint)


def _by_address(spec: Spec, facts: KernelFacts) -> tuple[Symbol | None, int]:
    """Return the function an address is in, and the offset; none where addresses are hidden."""
    if facts.symbols.hidden:
        return None, 0
    found = facts.symbols.at(spec.address)
    if found is None:
        raise SymbolError(
            f"no function at {spec.address:#x} in this kernel ({facts.release})",
            hint="addresses change with every boot; a name, or name+offset, does not",
        )
    return found


def _by_name(spec: Spec, facts: KernelFacts) -> tuple[list[Symbol], str]:
    """Return the functions a name stands for, and how it differs from the name."""
    module = spec.module or None
    _check_module(spec, facts)
    name, note = spec.symbol, ""
    found = facts.symbols.find(name, module)
    if not found and not module:
        name, note = renamed(name, facts.symbols.__contains__) or (name, "")
        found = facts.symbols.find(name)
    if not found:
        raise _missing(spec, facts)
    functions = [symbol for symbol in found if symbol.is_function]
    if not functions:
        raise SymbolError(
            f"{name!r} is data, not a function",
            hint="a probe needs code; probe a function that uses it",
        )
    return functions, note


def _check_module(spec: Spec, facts: KernelFacts) -> None:
    if spec.module and spec.module not in facts.symbols.modules:
        raise SymbolError(
            f"module {spec.module!r} is not loaded",
            hint=f"load it on the target first: %kp run modprobe {spec.module}\n"
            "or wait for it: --wait",
        )


def _several(name: str, functions: list[Symbol]) -> SymbolError:
    places = [f"{s.address:#x}" for s in functions if s.address and not s.module]
    places += [f"{s.module}:{name}" for s in functions if s.module]
    shown = ", ".join(places[:4]) + (" …" if len(places) > 4 else "")
    hint = f"choose one by its address or module: {shown}\nor probe all of them: --all-addresses"
    if not places:
        hint = "their addresses are hidden; as root: sysctl kernel.kptr_restrict=1, then choose one"
    return SymbolError(f"{len(functions)} functions are called {name!r}", hint=hint)


def _missing(spec: Spec, facts: KernelFacts) -> SymbolError:
    """Return the error for a name the kernel does not have: inlined, or unknown."""
    name = spec.symbol
    if spec.module:
        return SymbolError(
            f"no function {name!r} in module {spec.module!r}",
            hint=f"%kp symbols {glob_near(name)!r} lists what there is",
        )
    variants = [s.name for s in facts.symbols.variants(name) if s.is_function]
    if variants:
        return _split(name, variants, facts)
    if name in facts.inline:
        return SymbolError(
            f"{name!r} is inlined: a 'static inline' of {facts.inline[name]}, which the compiler "
            "folds into its callers",
            hint="probe a function that calls it, at its entry or at symbol+offset",
        )
    near = similar(name.partition(".")[0], facts.functions())
    question = f"did you mean {', '.join(near)}? " if near else ""
    past = history(name)
    return SymbolError(
        f"no function {name!r} in this kernel ({facts.release})"
        + (f": {past}, and not there by that name either" if past else ""),
        hint=f"{question}%kp symbols {glob_near(name)!r} lists all",
    )


def _split(name: str, variants: list[str], facts: KernelFacts) -> SymbolError:
    """Return the error for a function of which the compiler left only variants or parts."""
    parts = all(".part." in v or ".cold" in v for v in variants)
    what = "part of it" if parts else "the compiler's variant of it"
    known = not parts and facts.btf.function(name) is not None
    return SymbolError(
        f"{name!r} is inlined: only {what} is left, {', '.join(variants[:3])}",
        hint=f"probe {variants[0]}"
        + ("" if known else "; its arguments are not known by name there, regs is"),
    )


def _check_offset(symbol: Symbol, offset: int, kind: Kind, facts: KernelFacts) -> None:
    if not offset:
        return
    if kind == "kretprobe":
        raise SymbolError(
            f"a return probe has no offset: {symbol.name}+{offset:#x}",
            hint=f"%%kretprobe {symbol.name}, or %%kprobe at the offset",
        )
    end = facts.symbols.end(symbol.address)
    if end is not None and symbol.address + offset >= end:
        raise SymbolError(
            f"{symbol.name}+{offset:#x} is behind the function's end",
            hint=f"{symbol.name!r} has {end - symbol.address:#x} bytes",
        )


def _function(symbol: Symbol, facts: KernelFacts) -> Function | None:
    """Return the function's prototype, None where BTF does not know it for sure.

    Of ``name.isra.0`` BTF has ``name`` only where its arguments are still those of the source
    (pahole --btf_gen_optimized), unless a whole ``name`` exists too.
    """
    if symbol.module:
        types = facts.module_types.get(symbol.module)
        return types.btf.function(symbol.name) if types else None
    base, dot, _ = symbol.name.partition(".")
    if dot and (base in facts.symbols or ".part." in symbol.name or ".cold" in symbol.name):
        return None
    return facts.btf.function(base)
