# SPDX-License-Identifier: MIT
"""Functions in files of code: the symbols of ELF files, and where such a file is to be had.

A target's files are looked for here first: those of the sandbox are this machine's own. A file
counts as the target's only if its identity is the same; else it is read from there.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

from ..agent.identified import identity_at
from ..errors import TargetError
from ..rows.columns import Array
from .memory import File

LARGEST = 64 << 20  # bytes that are read from a target for the sake of names
DEBUG = "/usr/lib/debug/.build-id/{}/{}.debug"
SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"),
                   ("value", "<u8"), ("size", "<u8")])  # fmt: skip
FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
NESTED = 8  # symbols before an address that may hold it
BROKEN = (ELFError, ConstructError, OSError, ValueError, KeyError, TypeError, AttributeError,
          IndexError, OverflowError, MemoryError, AssertionError)  # fmt: skip

Read = Callable[[str, int], bytes]
"""Called with a path and a size; returns so much of a target's file. Raises TargetError."""


@dataclass(frozen=True)
class Image:
    """A file's segments (offset, size, address) and its functions, by address."""

    segments: tuple[tuple[int, int, int], ...]
    symbols: Array
    names: bytes

    def at(self, offset: int) -> str:
        """Return the function that an offset in the file is in, ``""`` for none."""
        address = next((offset - start + to for start, size, to in self.segments
                        if start <= offset < start + size), None)  # fmt: skip
        if address is None:
            return ""
        last = int(np.searchsorted(self.symbols["value"], address, "right"))
        around = self.symbols[max(0, last - NESTED) : last]
        inside = around[address - around["value"] < around["size"]]
        if not len(inside):
            return ""
        nearest = inside[inside["value"] == inside["value"].max()]
        return min((self._name(each) for each in nearest), key=_plainness)

    def _name(self, symbol: Any) -> str:
        start = int(symbol["name"])
        end = self.names.find(b"\0", start)
        return self.names[start:end].decode("utf-8", "backslashreplace")


def _plainness(name: str) -> tuple[int, int, str]:
    """Of a function's several names (``read``, ``__read``) the plainest is the best known."""
    return len(name) - len(name.lstrip("_")), len(name), name


class Images:
    """The files of one target, kept once read; ``read`` gets those that are not here."""

    def __init__(self, read: Read | None = None) -> None:
        self._read = read
        self._known: dict[File, Image | None] = {}

    def name(self, file: File, offset: int) -> str:
        """Return the function that an offset in a file is in, ``""`` for none."""
        if file not in self._known:
            # under no lock: the thread that brings what is read may ask for a name itself
            self._known[file] = self._image(file)
        image = self._known[file]
        return "" if image is None else image.at(offset)

    def _image(self, file: File) -> Image | None:
        if not file.identity:
            return None
        tables = [table for source in self._sources(file) for table in _parsed(source)]
        if not tables:
            return None
        # a table with local functions too has most of them; a file of debug information alone
        # does not say where the code lies
        best = max(tables, key=lambda image: len(image.symbols))
        return replace(best, segments=tables[0].segments)

    def _sources(self, file: File) -> Iterator[IO[bytes]]:
        """Yield the file, and what there is of it with more symbols."""
        try:
            if identity_at(file.path) == file.identity:
                yield open(file.path, "rb")  # noqa: SIM115 - closed by _parsed
            else:
                yield from self._from_target(file)
        except OSError:
            yield from self._from_target(file)
        if "-" not in file.identity:
            try:
                yield open(DEBUG.format(file.identity[:2], file.identity[2:]), "rb")  # noqa: SIM115
            except OSError:
                return

    def _from_target(self, file: File) -> Iterator[IO[bytes]]:
        if self._read is None:
            return
        try:
            content = self._read(file.path, LARGEST)
        except TargetError:
            return
        if len(content) < LARGEST:
            yield io.BytesIO(content)


def _parsed(source: IO[bytes]) -> list[Image]:
    """Return the symbols of an ELF file, none where it is not one."""
    with source:
        try:
            return list(_images(ELFFile(source)))
        except BROKEN:
            return []


def _images(elf: Any) -> Iterator[Image]:
    if elf.elfclass != 64 or not elf.little_endian:
        return
    segments = tuple((each["p_offset"], each["p_filesz"], each["p_vaddr"])
                     for each in elf.iter_segments("PT_LOAD"))  # fmt: skip
    for section in elf.iter_sections():
        if section["sh_type"] in ("SHT_SYMTAB", "SHT_DYNSYM"):
            names = elf.get_section(section["sh_link"]).data()
            yield Image(segments, _functions(section.data()), names)


def _functions(table: bytes) -> Array:
    """Return the functions of a symbol table that are in the file, in order of their addresses."""
    symbols = np.frombuffer(table, SYMBOL, len(table) // SYMBOL.itemsize)
    kinds = np.isin(symbols["info"] & 15, FUNCTIONS)
    found: Array = symbols[kinds & (symbols["section"] != 0)]
    found = found[np.argsort(found["value"], kind="stable")].copy()
    ends = np.append(found["value"][1:], found["value"][-1:] + np.uint64(1))
    # written in assembler without a size: up to the next one
    found["size"] = np.where(found["size"] == 0, ends - found["value"], found["size"])
    return found
