# SPDX-License-Identifier: MIT
"""Where x86-64 passes a function's arguments (System V ABI, section 3.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

from kpmagic.model import Parameter

_REGISTERS = ("di", "si", "dx", "cx", "r8", "r9")


def passed(parameters: Sequence[Parameter]) -> list[list[str]]:
    """Return for each parameter the C of its 8-byte words, from ``kp_regs`` at entry."""
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


def _stack(word: int) -> str:
    return f"KP_LOAD(__u64, kp_regs->sp + {8 * word})"
