# SPDX-License-Identifier: MIT
"""What ``%kp trampoline`` shows, as values that a recording can keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """An instruction in memory: ``code`` is hex, ``place`` is ``vfs_read+0x5`` or an address.

    ``target`` is where a call or a jump goes, 0 for others and where only a register says it.
    ``changed``: the numbers of those of its bytes that are there because of the probe.
    """

    address: int
    place: str
    code: str
    text: str
    target: int = 0
    changed: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.code) // 2

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.address + self.size

    @property
    def mnemonic(self) -> str:
        """Its first word."""
        return self.text.split()[0]


@dataclass(frozen=True)
class Change:
    """A byte that the kernel has changed, and what it does now."""

    place: str
    before: str
    after: str
    meaning: str


@dataclass(frozen=True)
class Step:
    """Instructions that do one thing together."""

    does: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Detour:
    """Where the changed place leads: the optimiser's buffer, or a trampoline of ftrace or BPF."""

    title: str
    address: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Place:
    """One probed place; ``before`` is empty where that is not known."""

    place: str
    address: int
    mechanism: str
    before: tuple[Instruction, ...]
    after: tuple[Instruction, ...]
    changes: tuple[Change, ...]
    detour: Detour | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probed:
    """What a running probe has made of the kernel's code, at each of its places.

    ``left`` is how many places are not among ``places``.
    """

    name: str
    release: str
    places: tuple[Place, ...]
    left: int = 0
