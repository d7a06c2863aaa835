# SPDX-License-Identifier: MIT
"""The folder that a module is built in: locked while that goes on, so that others know."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

NAME = "kpmagic-kbuild-"
NEW_SECONDS = 60.0  # in which a folder that has been made is locked
# what objtool reads to tell a stack overflow from other crashes of its; see targets/kernel_headers
STACK = ("kpmagic-stack", "7ff000000000-7fffffffe000 rw-p 00000000 00:00 0 [stack]\n")


@contextmanager
def working(files: Mapping[str, str]) -> Iterator[Path]:
    """A folder with the files of a module, for as long as it is built."""
    work = Path(tempfile.mkdtemp(prefix=NAME))
    with ExitStack() as building:
        building.callback(shutil.rmtree, work, ignore_errors=True)
        with suppress(OSError):  # without locks nothing is swept either
            building.enter_context(_locked(work))
        _sweep(work.parent)
        for file, text in files.items():
            (work / file).write_bytes(text.encode("utf-8", errors="surrogatepass"))
        (work / STACK[0]).write_text(STACK[1])
        yield work


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder. Raises OSError, also when somebody else does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _sweep(home: Path) -> None:
    """Remove the folders that notebooks left which were killed while they built."""
    for left in home.glob(f"{NAME}*"):
        with suppress(OSError), _locked(left):
            if time.time() - left.stat().st_mtime > NEW_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
