# SPDX-License-Identifier: MIT
"""A cell as a C program on libbpf: the handler as it was compiled, and what loads it."""

from __future__ import annotations

from pathlib import Path

from ..compiler.toolchain import find_clang
from ..model import Artifact, Plan
from . import folder

MAKEFILE = """\
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# needs clang, a C compiler and libbpf's headers (Debian: clang gcc make libbpf-dev)
CLANG ?= {clang}
CC ?= cc

all: {name} handler.bpf.o

handler.bpf.o: handler.bpf.c vmlinux.h $(wildcard *.h)
	$(CLANG) -target bpf -g -O2 -mcpu=v2 -fms-extensions \\
		-Wno-visibility -Wno-microsoft-anon-tag -c $< -o $@

{name}: main.c $(wildcard *.h)
	$(CC) -O2 -Wall -iquote . -include types.h $< -o $@ -lbpf

clean:
	rm -f {name} handler.bpf.o
"""
TYPES = """\
/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
#include <linux/types.h>
"""


def files(plan: Plan, artifact: Artifact, headers: Path, name: str) -> dict[str, str]:
    """Return path → text of a folder that ``make`` builds. ``headers`` has vmlinux.h."""
    source = artifact.source.text
    ours = dict(folder.included(source))
    return ours | folder.program(plan, artifact.source, "libbpf") | {
        "handler.bpf.c": source,
        "vmlinux.h": folder.types(headers, [source, *ours.values()]),
        "types.h": TYPES,
        "Makefile": MAKEFILE.format(name=name, clang=Path(find_clang().program).name),
    }  # fmt: skip
