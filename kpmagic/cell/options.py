# SPDX-License-Identifier: MIT
"""The options of the probe magics: one table for magic line, help text and Python keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kpmagic.cell.values import (
    comm,
    cpu,
    duration,
    fields,
    identifier,
    maxactive,
    one_line,
    one_of,
    pid,
    positive,
    probability,
    probe_name,
    sample,
    share,
    size,
    text,
)


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
