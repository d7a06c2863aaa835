# SPDX-License-Identifier: MIT
"""Where x86-64 passes a function's arguments (System V ABI, section 3.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

from kpmagic.model import Function, Parameter

_REGISTERS = ("di", "si", "dx", "cx", "r8", "r9")
OF_SYSCALLS = ("di", "si", "dx", "r10", "r8", "r9")


def words_of(function: Function | None) -> list[list[str]]:
    """Return for each parameter the C of its 8-byte words, from ``kp_regs`` at entry."""
    if function is None:
        return []
    if function.convention == "c":
        return passed(function.parameters)
    caller = "((struct pt_regs *)kp_regs->di)"
    registers = zip(function.parameters, OF_SYSCALLS, strict=False)
    return [[f"KP_LOAD(__u64, &{caller}->{register})"] for _, register in registers]


def passed(parameters: Sequence[Parameter]) -> list[list[str]]:
    """Return the same for the parameters of a C function."""
    free = list(_REGISTERS)
    on_stack = 1  # the return address is at sp
    found: list[list[str]] = []
    for parameter in parameters:
        words = max(1, -(-parameter.size // 8))
        if words <= 2 and words <= len(free):
            found.append([f"kp_regs->{free.pop(0)}" for _ in range(words)])
        else:
            found.append([_stack(on_stack + i) for i in range(words)])
            on_stack += words
    return found


def numbers_of(function: Function | None) -> dict[str, int]:
    """Return parameter → the number of the one register that a C function gets it in."""
    if function is None or function.convention != "c":
        return {}
    places = {f"kp_regs->{name}": number for number, name in enumerate(_REGISTERS)}
    words = zip(function.parameters, passed(function.parameters), strict=True)
    return {parameter.name: places[found[0]] for parameter, found in words
            if len(found) == 1 and found[0] in places}  # fmt: skip


def _stack(word: int) -> str:
    return f"KP_LOAD(__u64, kp_regs->sp + {8 * word})"
