# SPDX-License-Identifier: MIT
"""A probe behind ftrace's call must see a call once: what jumps back there is found."""

from __future__ import annotations

import pytest

from kpmagic.planted.turns import comes_by, may_come_by

BEGIN = 0xFFFFFFFF81363790
NOP = "0f1f440000"
PLAIN = "4157 4156 90 90 c3"


class Nobody:
    def at(self, address: int) -> None:
        return None


def of(code: str) -> bytes:
    return bytes.fromhex(code)


@pytest.mark.parametrize(
    ("code", "turns"),
    [
        (f"{NOP} {PLAIN}", False),
        (f"{NOP} 4157 ebfc c3", True),  # jmp, to its first instruction
        (f"{NOP} 4157 75fc c3", True),
        (f"{NOP} 4157 e2fc c3", True),  # loop
        (f"{NOP} 4157 75fa c3", False),  # into ftrace's call: nobody does, and the entry counts it
        (f"{NOP} 4157 75fd c3", False),
        (f"{NOP} 4157 e9f9ffffff c3", True),
        (f"{NOP} 4157 0f84f8ffffff c3", True),
        (f"{NOP} 4157 0f84f9ffffff c3", False),
        (f"{NOP} 4157 0f04f8ffffff c3", False),  # no jump
        (f"{NOP} ebfe", True),
        ("", False),
        ("eb", False),
        ("ebfe eb", False),
        ("00000000 90", False),
    ],
)
def test_jumps_to_where_a_functions_own_code_begins(code: str, turns: bool) -> None:
    parts = [(BEGIN, of(code))]
    assert may_come_by(parts, BEGIN + 5) is turns
    assert bool(comes_by(parts, BEGIN + 5, Nobody())) is turns


@pytest.mark.parametrize("distance", [-128, -3, 2, 100, 127, 128, -129, 1 << 20, -(1 << 30)])
@pytest.mark.parametrize("opcode", [b"\xeb", b"\x70", b"\xe9", b"\x0f\x8f"])
def test_from_wherever_it_jumps(distance: int, opcode: bytes) -> None:
    near = opcode in (b"\xe9", b"\x0f\x8f")
    if not near and not -128 <= distance < 128:
        return
    jump = opcode + distance.to_bytes(4 if near else 1, "little", signed=True)
    code = of(NOP) + jump + b"\x90"
    place = BEGIN + 5 + len(jump) + distance
    parts = [(BEGIN, code)]
    assert may_come_by(parts, place)
    assert comes_by(parts, place, Nobody()) == f"{BEGIN + 5:#x}"
    assert not any(comes_by(parts, place + by, Nobody()) for by in (-1, 1))


def test_a_call_is_no_turn() -> None:
    """A function that calls itself behind its own call would not be one; and it is a new call."""
    parts = [(BEGIN, of(f"{NOP} e8fbffffff c3"))]
    assert comes_by(parts, BEGIN + 5, Nobody()) == ""


def test_its_cold_part_may_go_back() -> None:
    cold = BEGIN + 0x1000
    back = (BEGIN + 5 - (cold + 5)).to_bytes(4, "little", signed=True)
    parts = [(BEGIN, of(f"{NOP} {PLAIN}")), (cold, b"\xe9" + back)]
    assert comes_by(parts, BEGIN + 5, Nobody()) == f"{cold:#x}"
    assert may_come_by(parts, BEGIN + 5)
    assert not may_come_by(parts[:1], BEGIN + 5)


def test_behind_what_the_disassembler_does_not_know() -> None:
    parts = [(BEGIN, of(f"{NOP} 0f04 75fc"))]
    assert comes_by(parts, BEGIN + 5, Nobody()) == f"{BEGIN + 5:#x}"
