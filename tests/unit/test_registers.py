# SPDX-License-Identifier: MIT
from __future__ import annotations

from dataclasses import replace

from kpmagic.model import Function, Parameter
from kpmagic.registers import numbers_of, passed


def parameter(size: int) -> Parameter:
    return Parameter("p", "int p", 1, size)


def test_six_registers_then_the_stack() -> None:
    words = passed([parameter(8)] * 8)
    assert [w[0] for w in words[:6]] == [
        f"kp_regs->{r}" for r in ("di", "si", "dx", "cx", "r8", "r9")
    ]
    assert words[6] == ["KP_LOAD(__u64, kp_regs->sp + 8)"]
    assert words[7] == ["KP_LOAD(__u64, kp_regs->sp + 16)"]


def test_an_argument_of_one_register_has_its_number() -> None:
    sizes = {"a": 8, "pair": 16, "b": 4, "large": 24, "c": 8, "d": 8, "e": 8}
    parameters = tuple(Parameter(name, "", 1, size) for name, size in sizes.items())
    function = Function("f", parameters)
    assert numbers_of(function) == {"a": 0, "b": 3, "c": 4, "d": 5}
    assert numbers_of(replace(function, convention="syscall")) == numbers_of(None) == {}


def test_a_small_struct_takes_two_registers_a_large_one_memory() -> None:
    words = passed([parameter(16), parameter(24), parameter(4)])
    assert words[0] == ["kp_regs->di", "kp_regs->si"]
    assert words[1] == [f"KP_LOAD(__u64, kp_regs->sp + {offset})" for offset in (8, 16, 24)]
    assert words[2] == ["kp_regs->dx"]


def test_a_struct_never_straddles_registers_and_memory() -> None:
    words = passed([parameter(8)] * 5 + [parameter(16), parameter(8)])
    assert words[5] == [f"KP_LOAD(__u64, kp_regs->sp + {offset})" for offset in (8, 16)]
    assert words[6] == ["kp_regs->r9"]
