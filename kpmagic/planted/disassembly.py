# SPDX-License-Identifier: MIT
"""Bytes → instructions, by capstone, with the kernel's own names of functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from kpmagic.planted.values import Instruction

ADDRESSES = (1 << 64) - 1


class Named(Protocol):
    """A symbol; kernel.kallsyms.Symbol is one."""

    @property
    def name(self) -> str:
        """Its name."""


class Names(Protocol):
    """Who knows the kernel's functions by address: kernel.kallsyms.Kallsyms."""

    def at(self, address: int) -> tuple[Named, int] | None:
        """Return the function an address is in, and its offset there."""


def name_of(address: int, names: Names) -> str:
    """Return ``vfs_read+0x5``, ``vfs_read``, or the address where no function is known."""
    found = names.at(address)
    if found is None:
        return f"{address:#x}"
    symbol, offset = found
    return f"{symbol.name}+{offset:#x}" if offset else symbol.name


def place_of(address: int, names: Names) -> str:
    """Return ``vfs_read+0x0``: as `name_of`, always with the offset."""
    name = name_of(address, names)
    return name if "+" in name or name.startswith("0x") else f"{name}+0x0"


def disassemble(code: bytes, address: int, names: Names) -> Iterator[Instruction]:
    """Yield the instructions of ``code``; one that is cut off at its end is left out."""
    import capstone

    machine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    machine.detail = True
    for each in machine.disasm(code, address):
        target = _target(each)
        operands = name_of(target, names) if target else each.op_str
        yield Instruction(each.address, place_of(each.address, names), each.bytes.hex(),
                          f"{each.mnemonic:<7} {operands}".rstrip(), target)  # fmt: skip


def _target(instruction: Any) -> int:
    import capstone

    leads = (capstone.CS_GRP_CALL, capstone.CS_GRP_JUMP, capstone.CS_GRP_BRANCH_RELATIVE)
    if not any(instruction.group(each) for each in leads):  # the last has loop and jrcxz
        return 0
    for operand in instruction.operands:
        if operand.type == capstone.x86.X86_OP_IMM:
            return int(operand.imm) & ADDRESSES
    return 0


def raw(code: bytes, address: int, names: Names, why: str) -> Instruction:
    """Return bytes that are no instruction of their own, and say what they are."""
    return Instruction(address, place_of(address, names), code.hex(), f"({why})")
