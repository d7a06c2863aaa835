# SPDX-License-Identifier: MIT
"""The functions that exist only as ``static inline`` in the kernel's headers.

They are compiled into their callers, so no probe can be planted on them, and a user who asks for
one should hear that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TREES = ("include", "arch/x86/include")

# `static inline long __must_check f(…) {`, `static __always_inline __alloc_size(1) void *f(…) {`
DEFINITION = re.compile(
    r"""^static\s+(?:inline|__always_inline)\b
        (?:\b__\w+\s*\([^(){};]*\) | [^(){};=#])*?
        \b(?P<name>\w+)\s*
        \( (?:[^(){};] | \([^(){};]*\))* \) \s*
        (?:__\w+ (?:\([^()]*\))? \s*)* \{""",
    re.MULTILINE | re.VERBOSE,
)


def names(text: str) -> Iterator[str]:
    """Yield the names of the functions that C ``text`` defines as ``static inline``."""
    for match in DEFINITION.finditer(text):
        yield match["name"]


def index(source: Path) -> dict[str, str]:
    """Return name → header for a tree of kernel headers; the header relative to ``source``."""
    found: dict[str, str] = {}
    for tree in TREES:
        for header in sorted((source / tree).rglob("*.h")):
            text = header.read_text(encoding="utf-8", errors="replace")
            for name in names(text):
                found.setdefault(name, str(header.relative_to(source)))
    return found


def write(found: dict[str, str], path: Path) -> None:
    """Write one ``name<TAB>header`` a line, sorted by name."""
    lines = [f"{name}\t{header}\n" for name, header in sorted(found.items())]
    path.write_text("".join(lines), encoding="utf-8")
