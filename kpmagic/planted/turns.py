# SPDX-License-Identifier: MIT
"""Whether code comes by a place more than once in a call: a probe there would count each turn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kpmagic.planted.disassembly import Names, disassemble, place_of

Part = tuple[int, bytes]
"""Code of a function, and the address where it lies: the function itself, or its ``.cold``."""

# opcodes of direct jumps: with a distance of 8 bits, of 32 bits, and of 32 bits behind 0x0f
SHORT = np.isin(np.arange(256), (*range(0x70, 0x80), *range(0xE0, 0xE4), 0xEB))
NEAR, ESCAPE, NEAR_BEHIND_ESCAPE = 0xE9, 0x0F, 0x80


def may_come_by(parts: Iterable[Part], place: int) -> bool:
    """Whether there can be a direct jump to ``place``.

    Each byte is taken for the first of an instruction: no jump is overlooked, and in one of some
    hundred functions there is none.
    """
    return any(_short(code, place - at) or _near(code, place - at) for at, code in parts)


def comes_by(parts: Iterable[Part], place: int, names: Names) -> str:
    """Return where a direct jump to ``place`` is, ``f+0x27``; ``""`` where there is none."""
    for at, code in parts:
        end = at
        for each in disassemble(code, at, names) if may_come_by([(at, code)], place) else ():
            if each.target == place and each.mnemonic != "call":
                return each.place
            end = each.end
        if may_come_by([(end, code[end - at :])], place):  # behind what is no instruction known
            return place_of(end, names)
    return ""


def _short(code: bytes, to: int) -> bool:
    whole = np.frombuffer(code, np.uint8)
    leads_to = np.arange(2, len(code) + 1) + whole[1:].view(np.int8)
    return bool(SHORT[whole[:-1][leads_to == to]].any())


def _near(code: bytes, to: int) -> bool:
    if len(code) < 5:
        return False
    whole = np.frombuffer(code, np.uint8)
    distances = np.ndarray(len(code) - 4, "<i4", code, offset=1, strides=(1,))
    found = np.flatnonzero(np.arange(5, len(code) + 1) + distances == to)
    opcodes, before = whole[found], whole[found - 1]  # of the first byte: the last, no harm
    conditional = (before == ESCAPE) & (opcodes & 0xF0 == NEAR_BEHIND_ESCAPE)
    return bool(((opcodes == NEAR) | conditional).any())
