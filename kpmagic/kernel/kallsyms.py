# SPDX-License-Identifier: MIT
"""/proc/kallsyms: every symbol of the kernel and its modules, with its address.

A line is ``ffffffff81307b40 T vfs_read`` or ``ffffffffc0001000 t nft_do_chain<TAB>[nf_tables]``.
A few names are looked up by searching the text; many, or an address, need an index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kpmagic.errors import TargetError

_LINE = re.compile(rb"([0-9a-f]{1,16}) (\S) (\S+)(?:\t\[([^\]\n]*)\])?")
_TEXT = b"tTwW"
# what the kernel itself generates shows as a module that nobody loaded
_GENERATED = re.compile(rb"^.*\t\[(?:bpf|__builtin__\w+)\]\n", re.MULTILINE)
_SEARCHES = 16  # of the whole text take longer than making an index of it
_KERNEL_START = 1 << 63  # below it an address is an offset in per-CPU memory


@dataclass(frozen=True)
class Symbol:
    """One line: ``kind`` is nm's letter, ``module`` empty for the kernel proper.

    ``address`` is 0 where kernel.kptr_restrict hides it.
    """

    name: str
    address: int
    kind: str
    module: str = ""

    @property
    def is_function(self) -> bool:
        """Whether it is code."""
        return self.kind.encode() in _TEXT


class Kallsyms:
    """The symbols of one boot. ``shift`` is added to the addresses of ``text``, for KASLR."""

    def __init__(self, text: bytes, shift: int = 0) -> None:
        """Take ``text`` as the kernel wrote it. Raises TargetError if it is something else."""
        if not _LINE.match(text):
            raise _bad(text[:40])
        self._text = b"\n" + text.rstrip(b"\n") + b"\n"
        self._shift = shift
        self._searches = 0

    def __contains__(self, name: str) -> bool:
        """Whether a symbol has that name."""
        return next(iter(self._positions(name)), None) is not None

    def find(self, name: str, module: str | None = None) -> tuple[Symbol, ...]:
        """Return the symbols called ``name``, of one ``module`` (``""``: the kernel) if given."""
        found = [self._symbol(at) for at in self._positions(name)]
        return tuple(s for s in found if module is None or s.module == module)

    def at(self, address: int) -> tuple[Symbol, int] | None:
        """Return the function an address is in, and its offset there; None where not known."""
        index = self._before(address)
        if index is None:
            return None
        _, starts = self._sorted
        symbol = self._symbol(int(starts[index]))
        return symbol, address - symbol.address

    def end(self, address: int) -> int | None:
        """Return where the function at ``address`` ends: the next symbol. None if not known."""
        addresses, _ = self._sorted
        following = int(np.searchsorted(addresses, np.uint64(address - self._shift), "right"))
        if not address or following == len(addresses):
            return None
        return int(addresses[following]) + self._shift

    def is_init(self, symbol: Symbol) -> bool:
        """Whether a function's code was freed when the kernel had started."""
        return len(self._init) == 2 and self._init[0] <= symbol.address < self._init[1]

    @cached_property
    def _init(self) -> list[int]:
        """Where that code begins and ends."""
        return [s.address for name in ("_sinittext", "_einittext") for s in self.find(name, "")]

    def variants(self, name: str) -> tuple[Symbol, ...]:
        """Return what the compiler made of a function: ``name.isra.0``, ``name.cold`` …"""
        pattern = re.compile(rb" %b(?:\.[\w.]+)(?=[\n\t])" % re.escape(name.encode()))
        return tuple(self._symbol(m.start()) for m in pattern.finditer(self._text))

    def matching(self, pattern: str, module: str = "") -> Iterator[Symbol]:
        """Yield the functions of one module, ``""`` the kernel, whose names match a pattern."""
        name = _glob(pattern)
        behind = rb"\t\[%b\]\n" % re.escape(module.encode()) if module else rb"\n"
        wanted = re.compile(rb"\n[0-9a-f]+ [tTwW] %b(?=%b)" % (name, behind))
        for found in wanted.finditer(self._text):
            yield self._symbol(found.start() + 1)

    def functions(self) -> set[str]:
        """Return the names of all functions."""
        found = re.findall(rb" [tTwW] (\S+)", self._text)
        return {name.decode("utf-8", "replace") for name in found}

    def aliases(self) -> Iterator[tuple[Symbol, Symbol]]:
        """Yield (first name, another name) of each function that has several."""
        addresses, starts = self._sorted
        for index in np.flatnonzero(addresses[1:] == addresses[:-1]) + 1:
            first = int(np.searchsorted(addresses, addresses[index], "left"))
            yield self._symbol(int(starts[first])), self._symbol(int(starts[index]))

    @cached_property
    def modules(self) -> frozenset[str]:
        """The names of the modules that have symbols here."""
        found = re.findall(rb"\t\[([^\]\n]+)\]\n", self._text)
        return frozenset(name.decode("utf-8", "replace") for name in set(found))

    @cached_property
    def hidden(self) -> bool:
        """Whether all addresses are zero (kernel.kptr_restrict)."""
        return re.search(rb"\n0*[1-9a-f]", self._text) is None

    def _positions(self, name: str) -> list[int]:
        """Return where in the text `` NAME`` ends a line, the tab of a module aside."""
        if not name or " " in name:
            return []
        wanted = name.encode("utf-8", "replace")
        self._searches += 1
        if self._searches > _SEARCHES:
            return self._by_name.get(wanted, [])
        pattern = re.compile(rb" %b(?=[\n\t])" % re.escape(wanted))
        return [m.start() for m in pattern.finditer(self._text)]

    @cached_property
    def _by_name(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for match in re.finditer(rb" (\S+)(?=[\n\t])", self._text):
            found.setdefault(match[1], []).append(match.start())
        return found

    def _symbol(self, at: int) -> Symbol:
        """Return the symbol of the line that ``at`` is in."""
        begin, end = self._text.rindex(b"\n", 0, at + 1) + 1, self._text.index(b"\n", at)
        line = _LINE.match(self._text, begin, end)
        if line is None:
            raise _bad(self._text[begin:end])
        address, kind, name, module = (part.decode("utf-8", "replace") for part in line.groups(b""))
        return Symbol(name, self._shifted(int(address, 16)), kind, module)

    def _shifted(self, address: int) -> int:
        return address + self._shift if address >= _KERNEL_START else address

    def _before(self, address: int) -> int | None:
        addresses, _ = self._sorted
        wanted = address - self._shift
        # where the last function ends is not known, so nothing is in it
        if not len(addresses) or not _KERNEL_START <= wanted < int(addresses[-1]):
            return None
        index = int(np.searchsorted(addresses, np.uint64(wanted), "right")) - 1
        if index < 0:
            return None
        # of several names at one address the first is the one the kernel would say
        return int(np.searchsorted(addresses, addresses[index], "left"))

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Addresses of functions in ascending order, and where their lines begin."""
        letters = np.frombuffer(self._text, np.uint8)
        starts = np.flatnonzero(letters[:-1] == ord("\n")) + 1
        width = self._text.index(b" ") - 1
        starts = starts[(starts + width + 2 < len(letters))]
        starts = starts[np.isin(letters[starts + width + 1], np.frombuffer(_TEXT, np.uint8))]
        addresses = _hexadecimal(letters, starts, width)
        order = np.argsort(addresses, kind="stable")
        order = order[addresses[order] >= _KERNEL_START]
        return addresses[order], starts[order]


def _glob(pattern: str) -> bytes:
    """Return the regular expression of a shell pattern, as it stands between blanks."""
    words = {b"*": rb"\S*", b"?": rb"\S"}
    pieces = re.split(rb"(\*|\?|\[!?[^\]\s]+\])", pattern.encode("utf-8", "replace"))
    made = []
    for piece in pieces:
        if piece.startswith(b"[") and piece.endswith(b"]"):
            inverted = piece[1:2] == b"!"
            inside = piece[1 + inverted : -1].replace(b"\\", rb"\\").replace(b"^", rb"\^")
            made.append(b"[" + (b"^\\s" if inverted else b"") + inside + b"]")
        else:
            made.append(words.get(piece) or re.escape(piece))
    return b"".join(made)


def without_modules(text: bytes) -> bytes:
    """Return the lines of the kernel proper, which are the same after every boot but for KASLR."""
    kernel = text.find(b"\t[")
    if kernel < 0:
        return text
    end = text.rfind(b"\n", 0, kernel) + 1
    rest = text[end:].splitlines(keepends=True)
    return text[:end] + b"".join(line for line in rest if b"\t[" not in line)


def without_generated(text: bytes) -> bytes:
    """Return the text without the names of BPF programs and trampolines."""
    return _GENERATED.sub(b"", text)


def anchor(text: bytes) -> int | None:
    """Return the address of ``_text`` or ``_stext`` (0: hidden), None if ``text`` has neither."""
    found = re.search(rb"^([0-9a-f]+) . _s?text$", text, re.MULTILINE)
    return int(found[1], 16) if found else None


def _bad(line: bytes) -> TargetError:
    return TargetError(
        f"/proc/kallsyms has {line!r} where an address and a name should be",
        hint="kpmagic needs a kernel with CONFIG_KALLSYMS; %kp doctor checks the target",
    )


def _hexadecimal(
    letters: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.uint64]:
    """Return the numbers of ``width`` hexadecimal digits at ``starts``."""
    digit = np.zeros(256, np.uint64)
    for value, letter in enumerate(b"0123456789abcdef"):
        digit[letter] = value
    numbers = np.zeros(len(starts), np.uint64)
    for column in range(width):
        numbers = numbers << np.uint64(4) | digit[letters[starts + column]]
    return numbers
