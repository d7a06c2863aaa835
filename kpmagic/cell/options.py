# SPDX-License-Identifier: MIT
"""The options of the probe magics: one table for magic line, help text and Python keywords."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Option:
    """One option: ``field`` is its name in model.Options, ``keyword`` its name in Python.

    ``parse`` turns a word or a Python value into the field's value and raises ValueError;
    a flag has none. ``keyword`` is empty where Python has another way.
    """

    flag: str
    field: str
    help: str
    metavar: str = ""
    parse: Callable[[object], object] | None = None
    short: str = ""
    keyword: str = ""

    @property
    def spelling(self) -> str:
        """How help shows it: ``-o, --out NAME``."""
        flags = ", ".join(flag for flag in (self.short, self.flag) if flag)
        return f"{flags} {self.metavar}".rstrip()


OPTIONS: tuple[Option, ...] = (
    Option("--out", "out", "bind the Run to NAME before it starts, and show nothing",
           "NAME", identifier, short="-o"),
    Option("--name", "name", "the probe's name (default: its symbol); the same name replaces it",
           "NAME", probe_name, keyword="name"),
    Option("--for", "duration", "block that long (500ms, 5s, 2m), then stop",
           "DURATION", duration, keyword="duration"),
    Option("--while", "command", "run the shell COMMAND on the target and probe exactly that long",
           "COMMAND", text, keyword="command"),
    Option("--follow", "follow", "with --while: only what the command and its descendants caused",
           keyword="follow"),
    Option("--bg", "background", "attach and return at once (the default in a notebook)"),
    Option("--max-events", "max_events", "stop after N rows (default 1,000,000)",
           "N", positive, keyword="max_events"),
    Option("--max-time", "max_time", "stop after that long (default 10m; with --for, and of "
           "modules, none)", "DURATION", duration, keyword="max_time"),
    Option("--where", "where", "a C expression, evaluated in the kernel; false: not recorded",
           "EXPR", one_line, keyword="where"),
    Option("--pid", "pid", "only this process", "N", pid, keyword="pid"),
    Option("--comm", "comm", "only processes of this name", "NAME", comm, keyword="comm"),
    Option("--cpu", "cpu", "only this processor", "N", cpu, keyword="cpu"),
    Option("--sample", "sample", "record one in N; the rest is counted",
           "1/N", sample, keyword="sample"),
    Option("--max-overhead", "max_overhead", "what the handlers may take of one CPU; over it fewer "
           "hits are recorded, then none", "SHARE%", share, keyword="max_overhead"),
    Option("", "defines", "a C define; VALUE may be $python_name (int or str)",
           "NAME=VALUE", text, short="-D", keyword="defines"),
    Option("--backend", "backend", "how the handler reaches the kernel (default bpf)",
           "bpf|kmod|bcc", one_of("bpf", "kmod", "bcc"), keyword="backend"),
    Option("--maxactive", "maxactive", "with kmod: calls of a return probe that can be going on",
           "N", maxactive, keyword="maxactive"),
    Option("--mechanism", "mechanism", "how the kernel is to plant it, or an error that says why "
           "not", "ftrace|jump|int3", one_of("ftrace", "jump", "int3"), keyword="mechanism"),
    Option("--inject", "inject", "let skip_function() and set_retval() change what is returned",
           keyword="inject"),
    Option("--times", "times", "inject at most N times", "N", positive, keyword="times"),
    Option("--probability", "probability", "inject with this chance, as 0.1 or 10%",
           "P", probability, keyword="probability"),
    Option("--yes-on-this-kernel", "yes_on_this_kernel",
           "let a module into the kernel that this machine runs on", keyword="yes_on_this_kernel"),
    Option("--target", "target", "for this cell only", "NAME", text),
    Option("--fields", "fields", "without a body: these columns; members too; * and ? match",
           "NAMES", fields, keyword="fields"),
    Option("--depth", "depth", "columns for members of structs, N levels (a struct alone: 2)",
           "N", positive, keyword="depth"),
    Option("--buffer", "buffer", "the kernel's ring buffer (default 8M)",
           "SIZE", size, keyword="buffer"),
    Option("--dry-run", "dry_run", "everything but attaching; shows the generated source",
           short="-n", keyword="dry_run"),
    Option("--rename", "rename", "functions the module names get the name they have in this kernel",
           keyword="rename"),
    Option("--all-addresses", "all_addresses", "all functions of a name that several have",
           keyword="all_addresses"),
    Option("--wait", "wait", "wait until the module of module:symbol is loaded", keyword="wait"),
    Option("--show", "show", "what the card shows", "table|plot|none",
           one_of("table", "plot", "none")),
    Option("--save", "save", "record to FILE while it runs, with the memory of a few rows",
           "FILE", text, keyword="save"),
    Option("", "quiet", "show nothing", short="-q"),
)  # fmt: skip

# the options of %%kmodule: a module is in the kernel that long, and filters nothing
OF_MODULES = frozenset(("out", "duration", "command", "background", "max_time", "target", "dry_run",
                        "rename", "show", "quiet", "yes_on_this_kernel"))  # fmt: skip
# of %%bpftrace and %%bcc: what is probed, and when, the script says
OF_SCRIPTS = OF_MODULES - {"rename", "yes_on_this_kernel"} | {"name"}
OF_MODULES_ONLY = frozenset(("rename",))

OF_KIND: Mapping[str, frozenset[str]] = {"kmodule": OF_MODULES, "bpftrace": OF_SCRIPTS,
                                        "bcc": OF_SCRIPTS | {"defines"}}  # fmt: skip

BY_FLAG: Mapping[str, Option] = {
    flag: option for option in OPTIONS for flag in (option.flag, option.short) if flag
}
BY_KEYWORD: Mapping[str, Option] = {option.keyword: option for option in OPTIONS if option.keyword}

# (one, other, why): together they cannot be meant; {field} is what it is called where it is given
CONTRADICTIONS: tuple[tuple[str, str, str], ...] = (
    ("duration", "command", "a run ends either after a time or with its command"),
    ("duration", "background", "{duration} blocks, {background} does not"),
    ("command", "background", "{command} blocks, {background} does not"),
    ("pid", "follow", "the command's process has a new number each time"),
    ("show", "quiet", "{quiet} shows nothing"),
)
# (option, what it needs, what to do)
NEEDS: tuple[tuple[str, str, str], ...] = (
    ("follow", "command", "what is followed is the command that {command} runs: add it"),
    ("times", "inject", "{times} limits what {inject} allows"),
    ("probability", "inject", "{probability} is about what {inject} allows"),
)


def is_of(option: Option, kind: str) -> bool:
    """Whether a magic takes an option: one of OF_KIND, or one of the probes."""
    if kind in OF_KIND:
        return option.field in OF_KIND[kind]
    return option.field not in OF_MODULES_ONLY


def help_text(kind: str = "kprobe") -> str:
    """Return the options of a magic as a table, a line each."""
    shown = [option for option in OPTIONS if is_of(option, kind)]
    width = max(len(option.spelling) for option in shown)
    return "\n".join(f"  {option.spelling:<{width}}  {option.help}" for option in shown)
