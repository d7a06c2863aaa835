# SPDX-License-Identifier: MIT
"""A cell as a bpftrace script: where each statement is one of bpftrace's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ..cell import expansion
from ..cell.scope import parameters
from ..cell.text import widen
from ..model import Parameter, Plan, Site, Source
from ..record import Field
from ..registers import OF_SYSCALLS, numbers_of
from .statements import (
    Statement,
    Untranslatable,
    check_places,
    replaced,
    sites_of,
    statements,
)

LANGUAGE = "bpftrace"
BUILTINS = {"pid": "pid", "tid": "tid", "uid": "uid", "cpu": "cpu", "comm": "comm", "ts": "nsecs",
            "latency": "(nsecs - @kp_start[tid])"}  # fmt: skip
FUNCTIONS = ("str", "user_str", "kstack", "ustack")
INTEGERS = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}
FORMATS = {"string": "%s", "kstack": "%s", "ustack": "%s", "bool": "%d"}


def script(plan: Plan, source: Source) -> str:
    """Return the script. Raises CellError for what bpftrace has no equivalent for."""
    options = plan.probe.options
    no = Untranslatable(plan, "", LANGUAGE)
    for flag, given in (("--follow", options.follow), ("--sample", options.sample > 1),
                        ("--max-overhead", options.max_overhead > 0)):
        if given:
            raise no.error(flag)
    check_places(plan, no)
    parts = [_head(plan), *_header(source)]
    for site, row in sites_of(plan, source):
        parts.append("\n".join(_probe(plan, site, row, source)))
    if plan.probe.kind == "kretprobe":
        kept = ["@kp_start", *sorted(set(_kept(plan).values()))]
        parts.append("END { " + " ".join(f"clear({name});" for name in kept) + " }")
    return "\n\n".join(parts) + "\n"


def _head(plan: Plan) -> str:
    command = plan.probe.options.command
    run = f"// bpftrace -c COMMAND THIS_FILE; kpmagic ran: {command!r}" if command else \
        "// bpftrace THIS_FILE, and Ctrl-C"  # fmt: skip
    return f"#!/usr/bin/env bpftrace\n// exported by kpmagic, for Linux {plan.release}\n{run}"


def _header(source: Source) -> list[str]:
    """A line with the columns' names, where all rows have the same."""
    if len(source.layouts) != 1:
        return []
    names = "\\t".join(field.name for field in source.layouts[0].fields)
    return [f'BEGIN {{ printf("{names}\\n"); }}']


def _kept(plan: Plan) -> dict[str, str]:
    """Return parameter → the map that keeps it from entry to return."""
    found: dict[str, str] = {}
    for site in plan.sites:
        for parameter in parameters(plan, site):
            if re.search(rf"\b{parameter.name}\b", (plan.probe.body or parameter.name)
                         + plan.probe.options.where):  # fmt: skip
                found[parameter.name] = f"@kp_{parameter.name}"
    return found


def _probe(plan: Plan, site: Site, row: int, source: Source) -> Iterator[str]:
    is_return = plan.probe.kind == "kretprobe"
    place = site.symbol + (f"+{site.offset}" if site.offset else "")
    kept = _kept(plan) if is_return else {}
    if is_return:
        saved = ["@kp_start[tid] = nsecs;"]
        saved += [f"{kept[name]}[tid] = {value};"
                  for name, value in _at_entry(site).items() if name in kept]
        yield f"kprobe:{place}\n{{\n\t" + "\n\t".join(saved) + "\n}\n"
    expressions = Expressions(plan, site, kept)
    condition = " && ".join(f"({each})" for each in expressions.filters())
    yield f"{'kretprobe' if is_return else 'kprobe'}:{place}"
    if is_return:
        yield "/@kp_start[tid]/"
    yield "{\n" + f"\tif ({condition or 1}) {{"
    for each in statements(plan, site, row, source, LANGUAGE):
        yield "\t\t" + _statement(each, expressions)
    yield "\t}"
    for name in ["@kp_start", *kept.values()] if is_return else []:
        yield f"\tdelete({name}[tid]);"
    yield "}"


def _statement(each: Statement, expressions: Expressions) -> str:
    values = [expressions.of(code, each.at) for code in each.values]
    if each.layout is not None:
        formats = [_format(field, expressions, each.at) for field in each.layout.fields]
        line = "\\t".join(formats) + "\\n"
        return f'printf("{line}"' + "".join(f", {value}" for value in values) + ");"
    assert each.aggregate is not None
    keys = ", ".join(expressions.of(code, each.at) for code in each.keys)
    name = "@" + re.sub(r"\W+", "_", each.aggregate.label).strip("_")
    return f"{name}{f'[{keys}]' if keys else ''} = {each.word}({', '.join(values)});"


def _format(field: Field, expressions: Expressions, at: int) -> str:
    kind = field.type.kind
    if kind in ("array", "errno"):
        raise expressions.no.error(f"the column {field.name!r} ({kind})", at)
    if kind in FORMATS:
        return FORMATS[kind]
    return "%ld" if field.type.signed or kind == "enum" else "%lu"


class Expressions:
    """C expressions of one site in bpftrace's language, which has most of C's operators."""

    def __init__(self, plan: Plan, site: Site, kept: dict[str, str]) -> None:
        self.plan = plan
        self.no = Untranslatable(plan, plan.probe.body or "", LANGUAGE)
        self.names = dict(BUILTINS)
        self.names["func"] = f'"{site.symbol}"'
        if plan.probe.kind == "kretprobe" and site.function is not None:
            self.names["retval"] = _cast(site.function.returns, site.function.returns_size,
                                         "retval")  # fmt: skip
        values = _at_entry(site)
        known = parameters(plan, site)
        # arguments that are not in a register of their own
        self.lost = {each.name for each in known} - values.keys()
        for each in known:
            value = f"{kept[each.name]}[tid]" if each.name in kept else values.get(each.name, "")
            self.names[each.name] = _argument(each, value)
        given = expansion.defines_of(plan.probe)
        self.names |= {name: replaced(widen(value), self.names) for name, value in given.items()}

    def filters(self) -> list[str]:
        """Return what the options let through."""
        options = self.plan.probe.options
        found = [f"pid == {options.pid}"] * bool(options.pid)
        found += [f"comm == {json.dumps(options.comm, ensure_ascii=False)}"] * bool(options.comm)
        found += [f"cpu == {options.cpu}"] * (options.cpu >= 0)
        return found + ([self.of(options.where, -1)] if options.where else [])

    def of(self, code: str, at: int) -> str:
        """Return an expression of the cell. Raises CellError."""
        text = " ".join(code.split())
        for name in re.findall(r"(?<![\w.>])([A-Za-z_]\w*)\s*\(", text):
            if name not in FUNCTIONS:
                raise self.no.error(f"{name}()", at)
        for word in re.findall(r"(?<![\w.>])[A-Za-z_]\w*", text):
            if word in self.lost:
                raise self.no.error(f"{word!r}, an argument that no register has,", at)
        wrong = re.search(r"\bregs\b|\bsizeof\b|(?<![&\w)\]])\s*&(?![&])\s*\w", text)
        if wrong is not None:
            raise self.no.error(f"{wrong[0].strip()!r} of {text!r}", at)
        text = re.sub(r"\buser_str\(([^()]*)\)", r"str(uptr(\1))", text)
        text = re.sub(r"\b([ku]stack)\(\)", r"\1", text)
        return replaced(text, self.names)


def _at_entry(site: Site) -> dict[str, str]:
    """Return argument → what it is at the function's entry; a system call's are its caller's."""
    if site.function is not None and site.function.convention == "syscall":
        registers = zip(site.function.parameters, OF_SYSCALLS, strict=False)
        return {each.name: f"((struct pt_regs *)arg0)->{name}" for each, name in registers}
    return {name: f"arg{number}" for name, number in numbers_of(site.function).items()}


def _argument(parameter: Parameter, value: str) -> str:
    kind = parameter.declaration.rpartition(parameter.name)[0].strip()
    return _cast(kind, parameter.size, value)


def _cast(kind: str, size: int, value: str) -> str:
    """Return an argument as what it is: a pointer to a struct, or a number of its own size."""
    pointed = re.fullmatch(r"(?:const )?(struct \w+|union \w+) ?\*", kind)
    if pointed is not None:
        return f"(({pointed[1]} *){value})"
    if "*" in kind or size not in INTEGERS:
        return value
    unsigned = kind.startswith(("unsigned", "size_t", "u", "__u", "bool", "_Bool"))
    integer = INTEGERS[size]
    return f"(({'u' + integer if unsigned else integer}){value})"
