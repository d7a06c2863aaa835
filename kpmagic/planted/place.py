# SPDX-License-Identifier: MIT
"""Code before and after → what the kernel has changed for a probe, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from kpmagic.planted.disassembly import Names, disassemble, name_of, place_of, raw
from kpmagic.planted.values import Change, Instruction, Place

CALL, JUMP, INT3 = 0xE8, 0xE9, 0xCC
LENGTHS = {CALL: 5, JUMP: 5, INT3: 1}
# arch/x86/include/asm/ibt.h: endbr64, and what the kernel makes of one that nobody needs
ENDBRS = (b"\xf3\x0f\x1e\xfa", b"\x66\x0f\x1f\x00", b"\x0f\x1f\x40\xd6")
SHOWN_BEHIND = 3  # instructions behind what was changed


@dataclass(frozen=True)
class Seen:
    """The code of a place as it was read: from ``address`` on, ``before`` empty if not known.

    ``at`` is where the kernel says the probe is, ``mechanism`` how it is planted there.
    """

    address: int
    at: int
    mechanism: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Written:
    """What stands at a place now: ``opcode`` and the ``size`` bytes that belong to it."""

    address: int
    opcode: int
    size: int
    target: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.address + self.size


def written(seen: Seen) -> Written | None:
    """Return the instruction that is there because of the probe, None where none is found."""
    for address in (seen.at, seen.address + (4 if seen.after[:4] in ENDBRS else 0)):
        code = seen.after[address - seen.address :]
        if code[:1] and code[0] in LENGTHS and len(code) >= LENGTHS[code[0]]:
            size = LENGTHS[code[0]]
            distance = int.from_bytes(code[1:5], "little", signed=True) if size == 5 else 0
            return Written(address, code[0], size, address + size + distance)
    return None


def compared(seen: Seen, names: Names) -> Place:
    """Return what was changed; where the new instruction leads is not looked at here."""
    now = written(seen)
    place = place_of(seen.at, names)
    before = tuple(disassemble(seen.before, seen.address, names))
    if now is None:
        shown = tuple(disassemble(seen.after, seen.address, names))[:SHOWN_BEHIND]
        return Place(place, seen.at, seen.mechanism, before[:SHOWN_BEHIND], shown, (),
                     remarks=(_why_nothing(seen),))  # fmt: skip
    inside = [each for each in before if each.address < now.end]
    behind = [each for each in before if each.address >= now.end][:SHOWN_BEHIND]
    return Place(
        place, seen.at, seen.mechanism, (*inside, *behind),
        tuple(_after(seen, now, inside, behind, names)),
        tuple(_changes(seen, now, inside, names)), remarks=tuple(_remarks(seen, now, names)),
    )  # fmt: skip


def _why_nothing(seen: Seen) -> str:
    if not seen.after:
        return "the kernel's memory cannot be read there"
    return "nothing is changed there: the probe is not armed, or it is on its way out"


def _after(
    seen: Seen,
    now: Written,
    inside: list[Instruction],
    behind: list[Instruction],
    names: Names,
) -> Iterator[Instruction]:
    """Yield the instructions as they stand there now."""

    def code(begin: int, end: int) -> bytes:
        return seen.after[begin - seen.address : end - seen.address]

    yield from disassemble(code(seen.address, now.address), seen.address, names)
    (new,) = disassemble(code(now.address, now.end), now.address, names)
    yield replace(new, changed=tuple(_differing(seen, now)))
    if inside and inside[-1].end > now.end:
        rest = f"the rest of '{plain(inside[-1])}', never executed now"
        yield raw(code(now.end, inside[-1].end), now.end, names, rest)
    for each in behind:
        there = code(each.address, each.end)
        yield (each if there.hex() == each.code
               else raw(there, each.address, names, "changed for another probe"))  # fmt: skip


def plain(instruction: Instruction) -> str:
    """Return an instruction's text without its columns."""
    return " ".join(instruction.text.split())


def _differing(seen: Seen, now: Written) -> list[int]:
    """Return the numbers of the new instruction's bytes that were not there before."""
    start = now.address - seen.address
    return [number for number in range(now.size)
            if seen.before[start + number : start + number + 1]
            != seen.after[start + number : start + number + 1]]  # fmt: skip


def _changes(
    seen: Seen, now: Written, inside: list[Instruction], names: Names
) -> Iterator[Change]:
    start = now.address - seen.address
    stood = next((f"'{plain(each)}'" for each in inside if each.address == now.address),
                 "what stood here")  # fmt: skip
    meanings = _meanings(now, stood, names)
    for number in range(now.size):
        was = seen.before[start + number : start + number + 1].hex() or "??"
        yield Change(place_of(now.address + number, names), was,
                     f"{seen.after[start + number]:02x}", meanings[number])  # fmt: skip


def _meanings(now: Written, stood: str, names: Names) -> list[str]:
    """Return a sentence for each byte of the new instruction."""
    if now.opcode == INT3:
        return [
            "int3: the processor stops here with a breakpoint exception; the kernel finds the "
            f"probe by this address, runs its handler, and then does {stood} "
            "from a copy, for its first byte is gone"
        ]
    where = name_of(now.target, names)
    if now.opcode == CALL:
        first = ("call: takes the place of the nop that the compiler left here for ftrace; "
                 f"pushes the address behind it and goes to {where}")  # fmt: skip
    else:
        first = ("jmp: goes to the detour buffer without an exception; the optimiser has written "
                 "it over the int3 that was here first")  # fmt: skip
    distance = now.target - now.end
    what = (f"of the distance {distance:#x} from the next instruction, {now.end:#x}, to "
            f"{now.target:#x}; the lowest comes first")  # fmt: skip
    parts = ("lowest byte", "second byte", "third byte", "highest byte")
    return [first, *(f"{part} {what}" if number == 0 else f"{part} of it"
                     for number, part in enumerate(parts))]  # fmt: skip


def _remarks(seen: Seen, now: Written, names: Names) -> Iterator[str]:
    if not seen.before:
        yield ("what stood here before is not known: another probe was here when this one came")
    elif not _differing(seen, now):
        yield "no byte is new: this place was traced already when the probe came"
    if now.opcode == CALL and now.address != seen.address:
        yield (f"{place_of(seen.address, names)} is the landing pad of indirect calls (endbr64, or "
               "the nop made of one that nobody needs): the probe is behind it")  # fmt: skip
