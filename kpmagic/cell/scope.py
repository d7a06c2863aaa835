# SPDX-License-Identifier: MIT
"""The values that are in scope of every body, a row each."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from kpmagic.model import Function, Parameter, Plan, Site

FIXED_COLUMNS = ("time", "cpu", "pid", "tid", "comm", "probe")
SAME_AS_FIXED = ("cpu", "pid", "tid", "comm")
# return types of which a negative value is an error
TELLS_ERRORS = frozenset(("int", "long", "long int", "ssize_t", "loff_t", "s32", "s64"))


@dataclass(frozen=True)
class Builtin:
    """A name, its C declaration without an initial value, and what it is."""

    name: str
    declaration: str
    meaning: str
    only_return: bool = False


BUILTINS = {
    builtin.name: builtin
    for builtin in (
        Builtin("regs", "struct pt_regs *regs", "the registers, a struct pt_regs *"),
        Builtin("pid", "__u32 pid", "process id, as ps shows it (the kernel's tgid)"),
        Builtin("tid", "__u32 tid", "thread id (the kernel's pid)"),
        Builtin("uid", "__u32 uid", "user id of the process"),
        Builtin("cpu", "__u32 cpu", "number of the CPU"),
        Builtin("ts", "__u64 ts", "time of the hit, ns of CLOCK_MONOTONIC"),
        Builtin("comm", "char comm[16]", "name of the thread"),
        Builtin("func", "char func[{func_size}]", "name of the probed function"),
        Builtin("retval", "{retval}", "what the function returned", only_return=True),
        Builtin("latency", "__u64 latency", "ns from entry to return", only_return=True),
    )
}


def in_scope(plan: Plan, site: Site) -> dict[str, str]:
    """Return name → C declaration of the builtins that a body at ``site`` may use.

    A parameter of the same name wins.
    """
    returns = site.function.returns if site.function is not None else "unsigned long"
    # of a function that returns a function's address the name stands within
    retval = returns.replace("(*)", "(*retval)", 1) if "(*)" in returns else f"{returns} retval"
    func_size = max(len(each.symbol) for each in plan.sites) + 1
    taken = {parameter.name for parameter in parameters(plan, site)}
    return {
        name: builtin.declaration.format(func_size=func_size, retval=retval)
        for name, builtin in BUILTINS.items()
        if name not in taken
        and (plan.probe.kind == "kretprobe" or not builtin.only_return)
        and not (name == "retval" and returns == "void")
    }


def parameters(plan: Plan, site: Site) -> tuple[Parameter, ...]:
    """Return the function's parameters where they are known: at its entry, and so at its return."""
    if site.function is None or site.offset > site.entry:
        return ()
    return site.function.parameters


def returned(function: Function | None, taken: Container[str]) -> dict[str, str]:
    """Return column → expression of what a return adds in the line form: retval, errno, latency.

    A parameter of the same name, in ``taken``, wins.
    """
    returns = function.returns if function is not None else "unsigned long"
    found = {} if returns == "void" else {"retval": "retval"}
    if returns in TELLS_ERRORS and "retval" not in taken:
        found["errno"] = "errno_name(retval)"
    found["latency"] = "latency"
    return {column: code for column, code in found.items() if column not in taken}
