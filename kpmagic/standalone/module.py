# SPDX-License-Identifier: MIT
"""A cell as a kernel module, as ``--backend kmod`` makes it, and a C program that reads it."""

from __future__ import annotations

from pathlib import Path

from ..backends.handlers import cpus_of
from ..backends.kmod import MAIN, QUIET
from ..model import Plan, Source
from ..run import injection
from . import folder

LONGEST = 40  # MODULE_NAME_LEN is 56, and init_module(2) refuses what is longer
MAKEFILE = """\
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# needs gcc, make and the kernel's headers (Debian: gcc make linux-headers-{release})
ifneq ($(KERNELRELEASE),)
obj-m := {module}.o
{module}-y := handlers.o body.o
# body.c is over the kernel's types from BTF, in vmlinux.h
CFLAGS_body.o := -std=gnu11 -fsigned-char {quiet}
else
KDIR ?= /lib/modules/{release}/build
CC ?= cc

all: {name} {module}.ko

{module}.ko: handlers.c body.c $(wildcard *.h)
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

{name}: main.c $(wildcard *.h)
	$(CC) -O2 -Wall -include linux/types.h $< -o $@

clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) clean
	rm -f {name}
endif
"""


def files(plan: Plan, source: Source, headers: Path, name: str) -> dict[str, str]:
    """Return path → text of a folder that ``make`` builds. ``headers`` has vmlinux.h."""
    module = f"{name[:LONGEST]}_probes"
    program = folder.program(plan, source, "module")
    program["probe.h"] += _settings(plan, source, module)
    texts = [text for path, text in source.files.items() if path not in (MAIN, "Makefile")]
    makefile = MAKEFILE.format(name=name, module=module, release=plan.release, quiet=QUIET)
    return {
        **source.files,
        **program,
        "vmlinux.h": folder.types(headers, texts),
        "Makefile": makefile,
    }


def _settings(plan: Plan, source: Source, module: str) -> str:
    """Return what the reader is told of the module besides."""
    options = plan.probe.options
    given = injection(options) if options.inject else {}
    words = " ".join(f"{name}={value}" for name, value in given.items())
    return (f'#define MODULE "{module}"\n#define CPUS {cpus_of(plan)}\n'
            f'#define RECORD {source.record_size}\n#define INJECTION "{words}"\n')  # fmt: skip
