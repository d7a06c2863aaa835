# SPDX-License-Identifier: MIT
"""Confines itself, then becomes make: started as ``python -I -m kpmagic.compiler.kbuild_worker``.

Arguments: the folder of the module, which alone can be written, then folders that can be read,
``--``, and make's command line.
"""

from __future__ import annotations

import os
import sys

from kpmagic.compiler.confine import confine

MEMORY = 4 << 30
CPU_SECONDS = 120
UNCONFINED = 77  # exit code: root, and nothing keeps the compiler from reading root's files


def main(arguments: list[str]) -> None:
    """Become make, or end with UNCONFINED."""
    end = arguments.index("--")
    work, *readable = arguments[:end]
    command = arguments[end + 1 :]
    confined = confine(
        readable, memory=MEMORY, cpu_seconds=CPU_SECONDS, writable=[work, "/dev/null"]
    )
    if not confined and os.geteuid() == 0:
        sys.exit(UNCONFINED)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
