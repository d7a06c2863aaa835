# SPDX-License-Identifier: MIT
"""The sandbox's console logs: kept in the cache, and read for the kernel's last words."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import weakref
from pathlib import Path

from kpmagic import cache
from kpmagic.terminal import without_codes

KEEP = 10
TAIL = 256 << 10
LINES = 80
EXCERPT = 14

# what the kernel prints first when it dies: lib/bug.c, arch/x86/kernel/traps.c, kernel/watchdog.c
BEGINS = re.compile(
    r"BUG: |Oops: |kernel BUG at |Kernel panic|general protection fault|double fault:"
    r"|watchdog: |int3: |invalid opcode:|stack segment:|divide error:"
)

# of an oops what names no place: registers, page tables, bytes, modules, hardware, guessed frames
_MUTE = re.compile(
    r"^(?:\[[^\]]*\]\s*)*(?!RIP: 0010:)"
    r"(?:[RE][A-Z0-9]{2}:|EFLAGS:|[C-GS]S:|[CD]R\d:|PKRU:|PGD |Code:|ORIG_RAX:"
    r"|Hardware name:|Modules linked in:|Tainted:|#PF: error_code|Call Trace:|</?\w+>$|\? )"
)


class Log:
    """The console's log of one sandbox: a new, empty file ``path``, readable by its owner only.

    The oldest go, but none that a sandbox or its last words still need.
    """

    def __init__(self, release: str) -> None:
        directory = cache.directory("console")
        _drop_oldest(directory)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = f"{stamp}-{release}-{os.getpid()}-{time.monotonic_ns() % 10**6}.log"
        self.path = directory / name
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, self._file)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def end(self) -> bytes:
        """Return the end of it, even when somebody has removed the file."""
        size = os.fstat(self._file).st_size
        return os.pread(self._file, TAIL, max(0, size - TAIL))

    def text(self) -> str:
        """Return the end of it without terminal codes."""
        return without_codes(self.end().decode(errors="replace"))


def _drop_oldest(directory: Path) -> None:
    logs = sorted(directory.glob("*.log"), key=_written)
    for old in logs[: max(0, len(logs) - KEEP + 1)]:
        # one that has been silent for long may be of a machine that runs: then it is locked
        with contextlib.suppress(OSError), old.open("rb+") as log:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old.unlink(missing_ok=True)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another notebook has dropped it
        return 0.0


def last_words(log: str) -> str:
    """Return what the kernel said from its first complaint on, or ``""``."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if BEGINS.search(line):
            return "\n".join(lines[number : number + LINES])
    return ""


def excerpt(words: str) -> str:
    """Return what tells a reader why and where: the complaint, the processor, the calls."""
    lines = words.strip().splitlines()
    told = [line for line in lines if not _MUTE.match(line)]
    return "\n".join(told[:EXCERPT])
