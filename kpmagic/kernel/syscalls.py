# SPDX-License-Identifier: MIT
"""System calls by their plain names: ``sys_openat`` is ``__x64_sys_openat`` on x86-64 since 4.17.

Such an entry has one argument, a ``struct pt_regs *`` of the caller (kernel commit
ebeb8c82ffaf). The system call's own arguments are told by its trace event.
"""

from __future__ import annotations

import re

from kpmagic.kernel.facts import KernelFacts
from kpmagic.model import Function, Parameter, Spec

PREFIX = "sys_"
MODULE = "syscall"  # syscall:openat is sys_openat
ENTRIES = ("__x64_", "__arm64_", "__s390x_", "__riscv_", "__se_")
FORMATS = tuple(
    f"{root}/events/syscalls/sys_enter_{{}}/format"
    for root in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
)
_FIELD = re.compile(r"^\tfield:(.+?)\s*\b(\w+);\toffset:\d+;\tsize:\d+;", re.MULTILINE)
_COMMON = "common_"
_NUMBER = "__syscall_nr"
_COPIES = ("__data_loc", "__rel_loc")  # what an argument points to, for the event alone


def plain_name(spec: Spec) -> str:
    """Return ``sys_openat`` where a SPEC names a system call, or ``""``."""
    if spec.module == MODULE:
        return PREFIX + spec.symbol.removeprefix(PREFIX)
    return spec.symbol if spec.symbol.startswith(PREFIX) and not spec.module else ""


def entries(name: str, facts: KernelFacts) -> list[str]:
    """Return the functions that begin the system calls of a name or shell pattern.

    Empty where a plain function has that name, as all of them had before 4.17.
    """
    if any(True for _ in facts.symbols.matching(name)):
        return []
    for prefix in ENTRIES:
        found = [symbol.name for symbol in facts.symbols.matching(prefix + name)]
        if found:
            return found
    return []


def is_call(spec: Spec, facts: KernelFacts) -> bool:
    """Whether a SPEC names system calls rather than plain functions."""
    name = plain_name(spec)
    return spec.module == MODULE or bool(name and entries(name, facts))


def call_of(entry: str) -> str:
    """Return ``openat`` of ``__x64_sys_openat``."""
    return entry.partition(PREFIX)[2]


def prototype(call: str, text: str) -> Function:
    """Return a system call's prototype, from the format of its event."""
    fields = [
        (type_, name)
        for type_, name in _FIELD.findall(text)
        if not name.startswith(_COMMON) and name != _NUMBER and not type_.startswith(_COPIES)
    ]
    parameters = tuple(_parameter(type_.strip(), name) for type_, name in fields)
    return Function(PREFIX + call, parameters, "long", returns_size=8, convention="syscall")


def _parameter(type_: str, name: str) -> Parameter:
    is_pointer = type_.endswith("*")
    type_ = type_.replace("*", " *").replace("  *", " *").replace("* *", "**")
    declaration = f"{type_}{name}" if is_pointer else f"{type_} {name}"
    return Parameter(name, declaration, 0, 8, "pointer" if is_pointer else "int")
