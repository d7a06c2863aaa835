# SPDX-License-Identifier: MIT
"""Which sites of a plan one handler can serve: those at which the body means the same C."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kpmagic.cell import expansion
from kpmagic.cell.body import scan, scan_expression
from kpmagic.cell.handler import Handler
from kpmagic.cell.scope import in_scope, parameters, returned
from kpmagic.cell.sections import without_mark
from kpmagic.cell.text import narrow
from kpmagic.model import Parameter, Plan, Site
from kpmagic.registers import words_of

COOKIE = "attach-cookie"
MULTI = "kprobe-multi"
GRAPH = "fprobe-graph"
# Of functions that are planted together all returns share room for 2 calls on each CPU and for each
# function (kernel/trace/fprobe.c, fprobe_init_rethook), where a kretprobe alone has at least 10.
# With so many functions sharing it is the better bargain.
SHARING = 16


def line_form(plan: Plan, site: Site) -> str:
    """Return the body of a probe without one: every argument a column, or what was chosen."""
    if plan.probe.options.fields:
        return f"emit({', '.join(each.code for each in site.chosen)});"
    opened = {each.code.lstrip("*"): each.code for each in site.chosen}
    names = [opened.get(p.name, p.name) for p in parameters(plan, site) if p.kind != "float"]
    if plan.probe.kind == "kretprobe":
        names += returned(site.function, names).values()
    return f"emit({', '.join(names)});"


def body_of(plan: Plan, site: Site) -> str:
    """Return the body at one site: the user's, or that of the line form."""
    return line_form(plan, site) if plan.probe.body is None else plan.probe.body


def groups(plan: Plan) -> list[tuple[int, ...]]:
    """Return the numbers of the sites that look the same to the body, in order of the first.

    Raises CellError for what no handler may hold.
    """
    found: dict[Any, list[int]] = {}
    names_of: dict[str, frozenset[str]] = {}
    for number, site in enumerate(plan.sites):
        body = body_of(plan, site)
        if body not in names_of:
            names_of[body] = _names(plan, body)
        found.setdefault((body, _shape(plan, site, names_of[body])), []).append(number)
    return [tuple(numbers) for numbers in found.values()]


def _names(plan: Plan, body: str) -> frozenset[str]:
    probe = plan.probe
    defines = expansion.defines_of(probe)
    found = [scan(narrow(without_mark(body)), probe.body_line, probe.cell)]
    if probe.options.where:
        found.append(scan_expression(narrow(probe.options.where), probe.cell, probe.where_at))
    return frozenset[str]().union(*(expansion.names(each, defines) for each in found))


def _shape(plan: Plan, site: Site, names: frozenset[str]) -> Any:
    """Return all that a handler of this body depends on at ``site``."""
    known = arguments(plan, site)
    used = tuple((p.declaration, tuple(words)) for p, words in known if p.name in names)
    builtins = in_scope(plan, site)
    scope = tuple(builtins.get(name) for name in sorted(names))
    # an injected value must fit what each function returns
    returns = (site.offset, site.function and site.function.returns)
    injected = returns if plan.probe.options.inject else ()
    return used, scope, _at_entry(site, names, plan), injected


def arguments(plan: Plan, site: Site) -> list[tuple[Parameter, list[str]]]:
    """Return the parameters that are known at ``site``, each with the C of its words at entry."""
    everything = parameters(plan, site)
    return list(zip(everything, words_of(site.function), strict=True)) if everything else []


def _at_entry(site: Site, names: frozenset[str], plan: Plan) -> bool:
    """Whether the kernel can attach here together with other functions (BPF_TRACE_KPROBE_MULTI).

    There registers other than the arguments are not what they were at the function's entry.
    """
    return (
        MULTI in plan.features
        and (site.exact or (site.address != 0 and not site.module))
        and not site.offset
        and "regs" not in names
    )


def _least(plan: Plan) -> int:
    """Return how many functions are worth being attached together.

    The function graph tracer keeps returns on a stack of each task: no other way misses fewer.
    """
    if plan.probe.kind == "kprobe":
        return 2
    return 1 if GRAPH in plan.features else SHARING


def placed(plan: Plan, handler: Handler) -> Iterator[Handler]:
    """Yield the handler as it is to be rendered: for all its sites, or for one site each.

    One program for many sites must be able to ask which of them was hit.
    """
    together = _at_entry(handler.site, handler.uses, plan)
    multi = together and len(handler.numbers) >= _least(plan)
    if COOKIE in plan.features or len(handler.numbers) == 1:
        yield replace(handler, multi=multi)
        return
    for number in handler.numbers:
        yield replace(handler, site=plan.sites[number], numbers=(number,))
