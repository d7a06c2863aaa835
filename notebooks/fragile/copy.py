# SPDX-License-Identifier: MIT
"""Copy a file in small pieces, with an error handler that does the wrong thing (lesson 9)."""

import contextlib
import os
import sys

PIECE = 7


def copy(source: str, target: str) -> None:
    """Copy ``source`` to ``target``."""
    read = os.open(source, os.O_RDONLY)
    write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(0, os.fstat(read).st_size, PIECE):
        with contextlib.suppress(OSError):  # it will be all right next time
            os.write(write, os.read(read, PIECE))


copy(sys.argv[1], sys.argv[2])
