# SPDX-License-Identifier: MIT
"""The sandbox's console logs: kept in the cache, and read for the kernel's last words."""

from __future__ import annotations

import os
import re
import time
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


def new(release: str) -> Path:
    """Return the path of a new, empty log, readable by its owner only; drop the oldest."""
    directory = cache.directory("console")
    logs = sorted(directory.glob("*.log"), key=_written)
    for old in logs[: max(0, len(logs) - KEEP + 1)]:
        old.unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = directory / f"{stamp}-{release}-{os.getpid()}-{time.monotonic_ns() % 10**6}.log"
    path.touch(mode=0o600)
    return path


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another notebook has dropped it
        return 0.0


def text(path: Path) -> str:
    """Return the end of a log without terminal codes; ``""`` when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL))
            return without_codes(log.read().decode(errors="replace"))
    except OSError:
        return ""


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
