# SPDX-License-Identifier: MIT
"""Which of a kernel's headers define the types that a source looks into: its ``#include`` lines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..kernel.pruned import looked_into

# what a programmer would include comes first
PREFERRED = ("linux/", "net/", "asm/", "uapi/linux/", "uapi/", "")
REGISTERS = "struct pt_regs"  # every program on BCC has it by <uapi/linux/ptrace.h>
DEFINITION = re.compile(rb"^(?:typedef\s+)?(struct|union|enum)\s+(\w+)\s*(?:__\w+\s*)*\{", re.M)


def roots_of(build: Path) -> list[Path]:
    """Return the folders that ``#include <…>`` looks in, of the build folder of a kernel."""
    whole = build.resolve()
    shared = whole.name.rpartition("-")[0]  # Debian's linux-headers-6.1.0-50-common, Ubuntu's
    places = [whole, whole.parent / f"{shared}-common", whole.parent / shared]
    roots = [place / folder for place in places for folder in ("include", "arch/x86/include")]
    return [root for root in roots if root.is_dir()]


def includes(
    types: str, source: str, build: Callable[[], Path]
) -> tuple[list[str], list[str]]:
    """Return the headers to include for ``source``, and the structs that none of them defines.

    ``types`` is the kernel's vmlinux.h; ``build`` finds the folder that its modules are built in,
    where it is needed. A name of an enum may also be a variable of the source's.
    """
    wanted = looked_into(types, source) - {REGISTERS}
    found: dict[str, str] = {}
    for root in roots_of(build()) if wanted else ():
        for header in _headers(root):
            _look(root, header, wanted, found)
    return sorted(set(found.values())), sorted(each for each in wanted - found.keys()
                                               if not each.startswith("enum"))  # fmt: skip


def _headers(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".h"))


def _look(root: Path, header: Path, wanted: set[str], found: dict[str, str]) -> None:
    """Note a header for each wanted type that it defines, if none is better."""
    name = str(header.relative_to(root))
    for match in DEFINITION.finditer(header.read_bytes()):
        tag = f"{match[1].decode()} {match[2].decode()}"
        if tag in wanted and (tag not in found or _rank(name) < _rank(found[tag])):
            found[tag] = name


def _rank(name: str) -> tuple[int, int, str]:
    first = next(at for at, start in enumerate(PREFERRED) if name.startswith(start))
    return first, name.count("/"), name
