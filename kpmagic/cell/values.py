# SPDX-License-Identifier: MIT
"""What options take: a word of the magic line, or a value from Python → what the probe needs.

Each raises ValueError, which says what was wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from keyword import iskeyword

SECOND = 1_000_000_000
PAGE = 4096
UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LARGEST_BUFFER = 1 << 30
LONGEST = 1 << 62  # ns, 146 years: the kernel's clocks are counted in 63 bits
SMALLEST_SHARE, LARGEST_SHARE = 1e-5, 100.0
SMALLEST_CHANCE = 1e-9  # bpf/inject.kmod.h draws numbers of 32 bits
COMM_LENGTH = 15  # linux/sched.h: TASK_COMM_LEN is 16 with the NUL
MOST_CPUS = 8192  # arch/x86/Kconfig: NR_CPUS_RANGE_END
PID_MAX_LIMIT = 4 << 20  # linux/threads.h, on 64 bits


def duration(value: object) -> int:
    """Return ns of ``500ms``, ``5s``, ``2m`` or ``1h``; a bare Python number is seconds.

    Raises ValueError.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        ns = value * SECOND
    else:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", str(value))
        if match is None:
            raise ValueError("a duration is a number and a unit: 500ms, 5s, 2m, 1h")
        ns = float(match[1]) * UNITS[match[2]]
    if not 0.5 < ns <= LONGEST:  # nor what is no number
        raise ValueError("a duration is longer than nothing, and at most 146 years")
    return round(ns)


def size(value: object) -> int:
    """Return bytes of ``64K`` or ``8M``. Raises ValueError."""
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", str(value), re.IGNORECASE)
    if match is None:
        raise ValueError("a size is a number and a unit: 64K, 8M")
    wanted = int(match[1]) * SIZES[match[2].upper()]
    if not 0 < wanted <= LARGEST_BUFFER:
        raise ValueError("a ring buffer has 4K to 1G")
    return wanted


def ring_size(wanted: int) -> int:
    """Return the size a ring buffer gets: a power of two and at least a page, or more of either.

    The kernel takes nothing else (kernel/bpf/ringbuf.c: ringbuf_map_alloc).
    """
    return max(PAGE, 1 << (wanted - 1).bit_length())


def show_size(count: int) -> str:
    """Return ``count`` bytes as a user types it: ``64K``."""
    for unit in ("G", "M", "K"):
        if count % SIZES[unit] == 0 and count:
            return f"{count // SIZES[unit]}{unit}"
    return str(count)


def sample(value: object) -> int:
    """Return N of ``1/N``; a bare N too. Raises ValueError."""
    match = re.fullmatch(r"(?:1/)?([1-9]\d{0,8})", str(value))
    if match is None:
        raise ValueError("one in N is written 1/N, with N at least 1")
    return int(match[1])


def share(value: object) -> float:
    """Return 0.05 of ``5%``. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", str(value))
    if match is None:
        raise ValueError("a share of one CPU is written 5%, in Python '5%'")
    found = float(match[1]) / 100
    if not SMALLEST_SHARE <= found <= LARGEST_SHARE:
        raise ValueError("a share of one CPU is at least 0.001%, and at most 10000%")
    return found


def show_share(part: float) -> str:
    """Return a share of one CPU as a user types it: ``5%``, three digits of it."""
    return f"{100 * part:.3g}%" if part < 10 else f"{100 * part:.0f}%"


def positive(value: object) -> int:
    """Return a whole number of at least 1. Raises ValueError."""
    number = natural(value)
    if number < 1:
        raise ValueError("a whole number of at least 1 is needed")
    return number


def natural(value: object) -> int:
    """Return a whole number of at least 0. Raises ValueError."""
    text = str(value).replace("_", "")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError("a whole number is needed")
    return int(text)


def up_to(most: int, why: str, least: Callable[[object], int]) -> Callable[[object], int]:
    """Return a parser of what ``least`` takes, but of no number above ``most``."""

    def parse(value: object) -> int:
        number = least(value)
        if number > most:
            raise ValueError(why)
        return number

    return parse


pid = up_to(PID_MAX_LIMIT, f"the kernel numbers processes up to {PID_MAX_LIMIT}", positive)
cpu = up_to(MOST_CPUS - 1, f"the kernel numbers processors up to {MOST_CPUS - 1}", natural)
maxactive = up_to(4096, "the kernel allows at most 4096 (KRETPROBE_MAXACTIVE_MAX)", positive)


def probability(value: object) -> float:
    """Return a chance above 0 and at most 1; ``10%`` is 0.1. Raises ValueError."""
    word = str(value)
    try:
        chance = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        chance = 0.0
    if not SMALLEST_CHANCE <= chance <= 1:
        raise ValueError("a chance is above 0 (a billionth at least) and at most 1: 0.1, 10%")
    return chance


def comm(value: object) -> str:
    """Return a process's name as the kernel keeps it. Raises ValueError."""
    text = str(value)
    if not text or len(text.encode()) > COMM_LENGTH or "\0" in text:
        raise ValueError("the kernel's name of a process (comm) has 1 to 15 bytes")
    return text


def text(value: object) -> str:
    """Return ``value`` if there is something in it. Raises ValueError."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it is empty")
    if "\0" in value:
        raise ValueError("it holds a NUL byte")
    return value


def one_line(value: object) -> str:
    """Return C text of one line. Raises ValueError."""
    line = text(value)
    if any(mark in line for mark in "\n\r") or line.endswith("\\"):
        raise ValueError("one line of C is needed")
    return line


def fields(value: object) -> tuple[str, ...]:
    """Return the columns in ``args.flags,file.f_path.*``, or in a list. Raises ValueError."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, Iterable):
        raise ValueError("columns are named args.flags,file.f_path.*")
    found = tuple(str(each).strip().replace("->", ".") for each in texts)
    if not found or not all(
        re.fullmatch(r"[\w*?]+(?:\.[\w*?]+)*", each, re.ASCII) for each in found
    ):
        raise ValueError("columns are named args.flags,file.f_path.*")
    return found


def identifier(value: object) -> str:
    """Return a Python name. Raises ValueError."""
    name = str(value)
    if not name.isidentifier() or iskeyword(name):
        raise ValueError("a Python variable's name is needed")
    return name


def probe_name(value: object) -> str:
    """Return a probe's name: letters, digits and ``_ . : + - *``. Raises ValueError."""
    name = str(value)
    if not re.fullmatch(r"[\w.:+*?-]{1,128}", name) or name.startswith("-"):
        raise ValueError("a name has letters, digits and _ . : + -")
    return name


def one_of(*words: str) -> Callable[[object], str]:
    """Return a parser of one of ``words``."""

    def parse(value: object) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)} is needed")
        return str(value)

    return parse
