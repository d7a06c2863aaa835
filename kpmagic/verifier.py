# SPDX-License-Identifier: MIT
"""The BPF verifier's log, brought back to a line of the cell."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kpmagic.backends import origin
from kpmagic.backends.handlers import CELL
from kpmagic.errors import VerifierError
from kpmagic.model import Artifact, Probe

_INSTRUCTION = re.compile(r"^(\d+): \([0-9a-f]{2}\) ")
_STATE = re.compile(
    r"^(?:;|old state:|cur state:|\d+:|"
    r"R\d+(?:_\w+)?=|from \d|\s*$|(?:insns )?processed |verification time|stack depth|"
    r"func#|Func#|mark_precise|last_idx|regs=|parent |-- BEGIN|-- END|libbpf)"
)
_EXT = struct.Struct("<HBBIIIII")  # struct btf_ext_header up to line_info_len
_LINE = struct.Struct("<IIII")  # struct bpf_line_info

_HINTS = (
    ("unbounded", "give the loop a constant bound, such as for (int i = 0; i < 16; i++)"),
    ("infinite loop", "give the loop a constant bound, such as for (int i = 0; i < 16; i++)"),
    ("back-edge", "give the loop a constant bound, such as for (int i = 0; i < 16; i++)"),
    ("too large", "bound every loop, such as for (int i = 0; i < 16; i++), or make them shorter"),
    ("too complex", "bound every loop, such as for (int i = 0; i < 16; i++), or make them shorter"),
    ("stack", "a handler has 512 bytes of stack: keep arrays small"),
    ("invalid mem access", "read memory by a member chain (p->a->b) or p[i]; those are made safe"),
)


def explain(
    log: str, program: str, artifact: Artifact, probe: Probe, name: str
) -> VerifierError:
    """Return the error for a refused program of the run called ``name``.

    It has the verifier's sentence, the place in the cell, a hint.
    """
    lines = log.splitlines()
    sentence = next((line.strip() for line in reversed(lines) if not _STATE.match(line)), "")
    numbers = [int(found.group(1)) for found in map(_INSTRUCTION.match, lines) if found]
    place = None
    if numbers:
        line, column, called = _position(artifact.object, program, numbers[-1])
        place = origin.place_of_btf(probe, artifact.source, line, column)
        if called and place is not None:
            place = replace(place, column=0)
    hint = next((words for mark, words in _HINTS if mark in sentence), "")
    return VerifierError(
        sentence or "the kernel's verifier refused the program",
        hint=f"{hint}\n%kp show {name} --stage log prints all the verifier said".strip(),
        place=place,
    )


def _position(object_: bytes, program: str, instruction: int) -> tuple[int, int, bool]:
    """Return line and column, as `origin.place_of_btf` takes them, that an instruction came from.

    The line is 0 if it came from no line of the cell. The last says whether it came from a function
    that is called there: its column is not the instruction's.
    Source: Documentation/bpf/btf.rst, section .BTF.ext; an instruction without an entry of its
    own belongs to the entry before it.
    """
    elf = ELFFile(io.BytesIO(object_))
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    symbol = next(iter(table.get_symbol_by_name(program) or ()), None)
    btf, ext = elf.get_section_by_name(".BTF"), elf.get_section_by_name(".BTF.ext")
    if symbol is None or btf is None or ext is None:
        return 0, 0, False
    section = elf.get_section(symbol["st_shndx"]).name
    first, size = symbol["st_value"], symbol["st_size"]
    strings = _strings(btf.data())
    best = 0, 0, False
    for name, offset, file, line, column in _lines(ext.data(), strings):
        if name != section or not first <= offset < first + size:
            continue
        if offset > first + 8 * instruction:
            break
        own = file.rpartition("/")[2] == CELL
        best = (line, column, False) if own else (*best[:2], True)
    return best


def _strings(btf: bytes) -> bytes:
    header, offset, length = struct.unpack_from("<4xI8xII", btf)
    return btf[header + offset : header + offset + length]


def _lines(ext: bytes, strings: bytes) -> list[tuple[str, int, str, int, int]]:
    """Return (section, byte offset, file, line, column) of every entry of line_info."""
    _, _, _, header, _, _, start, length = _EXT.unpack_from(ext)
    at, stop = header + start, header + start + length
    (size,) = struct.unpack_from("<I", ext, at)
    at += 4
    found = []
    while at < stop:
        section, count = struct.unpack_from("<II", ext, at)
        at += 8
        for _ in range(count):
            offset, file, _, line_column = _LINE.unpack_from(ext, at)
            found.append((_text(strings, section), offset, _text(strings, file),
                          line_column >> 10, line_column & 1023))  # fmt: skip
            at += size
    return found


def _text(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode("utf-8", errors="replace")
