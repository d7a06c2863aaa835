# SPDX-License-Identifier: MIT
"""What the kernel lets itself be probed at: ftrace's list of functions and kprobes' blacklist."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(rb"^0x([0-9a-f]+)-0x([0-9a-f]+)\t(\S+)", re.MULTILINE)
_PLACEHOLDER = "__ftrace_invalid_address__"  # kernel/trace/ftrace.c


@dataclass(frozen=True)
class Traceable:
    """Function names of ``available_filter_functions`` by module, ``""`` the kernel proper."""

    by_module: dict[str, frozenset[str]]

    @classmethod
    def parse(cls, text: bytes) -> Traceable:
        """Take lines of ``NAME`` or ``NAME [MODULE]``; what ftrace has lost the name of is none."""
        lines = text.decode("utf-8", "replace").split("\n")
        lines = [line for line in lines if not line.startswith(_PLACEHOLDER)]
        found: dict[str, set[str]] = {"": {line for line in lines if line and " " not in line}}
        for line in lines:
            if " " in line:
                name, _, module = line.partition(" ")
                found.setdefault(module.strip("[]"), set()).add(name)
        return cls({module: frozenset(names) for module, names in found.items()})

    def has(self, name: str, module: str = "") -> bool:
        """Say whether a function can be traced.

        One the compiler split off (``name.cold``) can where the whole can: within_notrace_func()
        of kernel/trace/trace_kprobe.c.
        """
        names = self.by_module.get(module, frozenset())
        return name in names or name.partition(".")[0] in names


@dataclass(frozen=True)
class Blacklist:
    """Where kprobes refuses to go: names and address ranges of debugfs ``kprobes/blacklist``."""

    names: frozenset[str]
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: bytes, shift: int = 0) -> Blacklist:
        """Take lines of ``0xSTART-0xEND<TAB>NAME``; ``shift`` is added to addresses, for KASLR."""
        found = _ENTRY.findall(text)
        ranges = ((int(start, 16), int(end, 16)) for start, end, _ in found)
        return cls(
            frozenset(name.decode("utf-8", "replace") for _, _, name in found),
            tuple((start + shift, end + shift) for start, end in ranges if end),
        )

    def has(self, name: str, address: int) -> bool:
        """Say whether a probe at ``address`` (0: not known) in function ``name`` is refused.

        What the compiler split off shares its function's lot: within_kprobe_blacklist() of
        kernel/kprobes.c.
        """
        whole, dot, _ = name.partition(".")
        if not address or not self.ranges or dot:
            return name in self.names or whole in self.names
        return any(start <= address < end for start, end in self.ranges)
