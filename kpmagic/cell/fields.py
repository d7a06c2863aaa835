# SPDX-License-Identifier: MIT
"""--fields and --depth: the columns of a probe without a body, as C expressions.

A name is an argument's and those of members behind it (``file.f_path.dentry``), each of which may
have wildcards; whether the way is ``.`` or ``->`` the kernel's types say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from kpmagic.cell.scope import returned
from kpmagic.errors import CellError
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.btf_text import strip
from kpmagic.kernel.btf_types import Kind
from kpmagic.kernel.facts import KernelFacts
from kpmagic.kernel.suggest import similar
from kpmagic.model import Chosen, Function, LeftOut, Probe, Site

Found = tuple[str, int]
"""A C expression and the id of its type, 0 for a value of kpmagic's own."""
_LAYOUTS = (Kind.STRUCT, Kind.UNION)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SHOWN = 12


def with_columns(
    probe: Probe, sites: tuple[Site, ...], facts: KernelFacts
) -> tuple[tuple[Site, ...], list[LeftOut]]:
    """Return the sites with their `Site.chosen`. Raises CellError.

    Of sites that only a wildcard brought, those without such columns are left out, unless all are.
    """
    if probe.body is not None or not (probe.options.fields or probe.options.depth):
        return sites, []
    kept: list[Site] = []
    left_out: list[LeftOut] = []
    first: CellError | None = None
    for site in sites:
        try:
            kept.append(replace(site, chosen=tuple(_chosen(probe, site, facts))))
        except CellError as error:
            if not site.spec.wild:
                raise
            first = first or error
            left_out.append(LeftOut(site.symbol, f"not one that --fields fits ({error.message})"))
    if first is not None and not kept:
        raise first
    return tuple(kept), left_out


def _chosen(probe: Probe, site: Site, facts: KernelFacts) -> Iterator[Chosen]:
    function = site.function
    if function is None or site.offset:
        if not probe.options.fields:
            return
        raise CellError(
            f"{site.symbol}: its arguments are not known by name here, so --fields has nothing "
            "to choose from",
            hint="without --fields, a body reads regs",
        )
    types = facts.module_types[site.module].btf if site.module else facts.btf
    if not probe.options.fields:
        yield from _opened(function, types)
        return
    seen: set[str] = set()
    for name in probe.options.fields:
        for code, _ in _matches(name, probe, function, types):
            if code not in seen:
                seen.add(code)
                yield Chosen(code, any(mark in name for mark in "*?"))


def _opened(function: Function, types: Btf) -> Iterator[Chosen]:
    """Yield the arguments that point to a struct, each as that struct."""
    for parameter in function.parameters:
        if parameter.kind == "pointer" and _record(parameter.type_id, types):
            yield Chosen(f"*{parameter.name}")


def _matches(name: str, probe: Probe, function: Function, types: Btf) -> list[Found]:
    """Return what a name stands for, at least one. Raises CellError."""
    first, *rest = name.split(".")
    roots = _roots(probe, function)
    found = [each for root, each in roots.items() if fnmatchcase(root, first)]
    if not found:
        raise _unknown(name, first, list(roots), f"{function.name} has no argument")
    for segment in rest:
        wild = any(mark in segment for mark in "*?")
        inside = [list(_members(each, types)) for each in found]
        if len(found) == 1 and not inside[0]:
            raise CellError(
                f"{name}: {found[0][0]} has no members: it is a '{_type_of(found[0], types)}'",
                hint=f"--fields {found[0][0].replace('->', '.')} is its value",
            )
        nexts = [each for members in inside for member, each in members
                 if fnmatchcase(member, segment)]  # fmt: skip
        if not nexts:
            known = list(dict.fromkeys(member for members in inside for member, _ in members))
            what = _type_of(found[0], types)
            message = f"'{what}' has no member" + (" like" if wild else "")
            raise _unknown(name, segment, known, message)
        found = nexts
    return found


def _roots(probe: Probe, function: Function) -> dict[str, Found]:
    roots = {each.name: (each.name, each.type_id) for each in function.parameters
             if each.kind != "float"}  # fmt: skip
    if probe.kind == "kretprobe":
        for column, code in returned(function, tuple(roots)).items():
            roots[column] = (code, function.returns_id if column == "retval" else 0)
    return roots


def _members(of: Found, types: Btf) -> Iterator[tuple[str, Found]]:
    """Yield name, expression and type of each member that C can name."""
    code, type_id = of
    record = _record(type_id, types)
    if record:
        arrow = strip(types, type_id).kind == Kind.PTR
        for member in types.members(record):
            if _NAME.fullmatch(member.name):
                yield member.name, (f"{code}{'->' if arrow else '.'}{member.name}", member.type_id)


def _record(type_id: int, types: Btf) -> int:
    """Return the id of the struct or union that a value is, or points to; 0 for neither."""
    found = strip(types, type_id) if type_id else None
    if found is not None and found.kind == Kind.PTR:
        found = strip(types, found.value)
        if found.kind == Kind.FWD:
            return found.id if types.members(found.id) else 0
    return found.id if found is not None and found.kind in _LAYOUTS else 0


def _type_of(found: Found, types: Btf) -> str:
    return types.declaration(found[1]) if found[1] else "number"


def _unknown(name: str, segment: str, known: list[str], what: str) -> CellError:
    near = similar(segment, known)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    shown = ", ".join(known[:_SHOWN]) + (" …" if len(known) > _SHOWN else "")
    return CellError(f"--fields {name}: {what} '{segment}'", hint=f"{hint}there are {shown}")
