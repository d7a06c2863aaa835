# SPDX-License-Identifier: MIT
"""Where many probes are planted sooner: behind ftrace's call.

For each kprobe at a function's entry ftrace goes several times through all the functions it knows
(kernel/trace/ftrace.c: ftrace_set_filter_ip()), which takes an emulated CPU some 20 ms as the probe
comes, and more as it goes. Behind ftrace's call a probe is one byte, and nothing of the function
has run yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kpmagic.model import Program
from kpmagic.planted.aim import CALL_SIZE, prologue
from kpmagic.planted.place import CALL
from kpmagic.planted.turns import Part, may_come_by

MANY = 16  # places from which on it is worth reading their code


def may_move(program: Program) -> bool:
    """Whether it is planted alone, at a function's entry."""
    at_entry = program.exact and program.offset == 0
    return at_entry and not (program.is_return or program.multi or program.fentry)


def beside(program: Program, parts: Sequence[Part]) -> Program:
    """Return the program behind its function's call of ftrace, or as it is.

    ``parts`` are all of the function's code, itself first. It stays where somebody traces the
    function already, and where one call of it can come by more than once.
    """
    code = parts[0][1]
    behind = prologue(code)
    if not behind or code[behind - CALL_SIZE] == CALL:
        return program
    there = program.address + behind
    if may_come_by(parts, there):
        return program
    return replace(program, address=there, offset=behind, entry=program.address)
