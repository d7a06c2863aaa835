# SPDX-License-Identifier: MIT
"""The ways a probe is planted to be measured, each with the same two handlers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from .. import build
from ..cell.syntax import probe_from_keywords
from ..channel.connection import Connection
from ..errors import KpmagicError, TargetError
from ..model import Artifact, Plan, Program, Site, Source
from ..preparing import prepare
from ..run import Run
from ..session import session
from ..view.card import CARD
from .workload import said

EMPTY, COLUMN = "empty", "one column"
HANDLERS = {EMPTY: ";", COLUMN: "emit(first = regs->di);"}  # the first argument, whatever it is
BUFFER = "32M"
ENTRY = 'SEC("kprobe")\nint kp_0(struct pt_regs *regs)\n{'
# of a function's arguments fentry has an array; the first is where the handler looks for it
FENTRY = """SEC("fentry/{symbol}")
int kp_0(__u64 *args)
{{
	struct pt_regs *regs = (void *)args - __builtin_offsetof(struct pt_regs, di);"""


class Way(Protocol):
    """One way to plant one handler, again and again."""

    name: str
    handler: str
    place: str
    mechanism: str

    def start(self) -> None:
        """Plant it. Raises KpmagicError."""

    def stop(self) -> None:
        """Take it out; harmless when it is out."""

    @property
    def hits(self) -> int:
        """How often it was hit when it was in last."""

    @property
    def dropped(self) -> int:
        """How many rows were lost then; -1 when nobody knows."""


@dataclass
class Probed:
    """A probe of kpmagic's."""

    name: str
    handler: str
    run: Run
    place: str = ""
    mechanism: str = ""

    def start(self) -> None:
        """Plant it."""
        self.run.start()

    def stop(self) -> None:
        """Take it out."""
        self.run.stop()
        self.run.wait(5.0)
        site = self.run.plan.sites[0]
        self.place = f"{site.symbol}+{site.offset:#x}"
        self.mechanism = str(self.run.info.get("mechanism") or self.mechanism)

    @property
    def hits(self) -> int:
        """The run's hits."""
        return self.run.stats.hits

    @property
    def dropped(self) -> int:
        """The run's dropped rows."""
        return self.run.stats.dropped


@dataclass
class Event:
    """An event of tracefs: Documentation/trace/kprobetrace.rst."""

    name: str
    handler: str
    connection: Connection
    symbol: str
    group: str
    place: str = ""
    mechanism: str = "ftrace"
    hits: int = 0
    dropped: int = -1

    def start(self) -> None:
        """Define it and switch it on, in a trace buffer of its own."""
        self.stop()
        fetch = " first=%di:u64" if self.handler == COLUMN else ""
        self.place = f"{self.symbol}+0x0"
        event = f"p:{self.group}/{HIT} {self.symbol}{fetch}"
        said(self.connection, f"{TRACEFS} && mkdir instances/{self.group} && "
             f"printf '%s\\n' '{event}' >> kprobe_events && "
             f"echo 1 > instances/{self.group}/events/{self.group}/{HIT}/enable")  # fmt: skip

    def stop(self) -> None:
        """Take the event away."""
        instance = f"instances/{self.group}"
        text = said(self.connection, f"{TRACEFS}; grep -w {HIT} kprobe_profile; "
                    f"[ -d {instance} ] && echo 0 > {instance}/events/enable && rmdir {instance}; "
                    f"grep -q '{self.group}/{HIT}' kprobe_events && "
                    f"echo -:{self.group}/{HIT} >> kprobe_events; true")  # fmt: skip
        words = text.split()
        self.hits = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _group(connection: Connection) -> str:
    """Return the name of the agent's events: agent/events.py removes them if it is killed."""
    pid = int(connection.hello["pid"])
    start = said(connection, f"sed 's/.*) //' /proc/{pid}/stat | cut -d ' ' -f 20").strip()
    return f"kpmagic_{pid}_{start}"


HIT = "kpmagic_hit"
TRACEFS = "cd /sys/kernel/tracing 2>/dev/null || cd /sys/kernel/debug/tracing"


def ways(connection: Connection, symbol: str) -> Iterator[tuple[str, str, Way | KpmagicError]]:
    """Yield name and handler of each way, and the way, or why there is none."""
    for name, options in PROBES.items():
        for handler in HANDLERS:
            try:
                yield name, handler, probed(connection, symbol, name, handler, options)
            except KpmagicError as error:
                yield name, handler, error
    group = _group(connection)
    for handler in HANDLERS:
        yield "tracefs event", handler, Event("tracefs event", handler, connection, symbol, group)


PROBES: dict[str, dict[str, str]] = {
    "bpf kprobe": {},
    "bpf fentry": {},
    "module, ftrace": {"backend": "kmod", "mechanism": "ftrace"},
    "module, jump": {"backend": "kmod", "mechanism": "jump"},
    "module, int3": {"backend": "kmod", "mechanism": "int3"},
}


def probed(
    connection: Connection, symbol: str, name: str, handler: str, options: dict[str, str]
) -> Probed:
    """Return a probe, built. Raises KpmagicError."""
    session.progress(f"building {name}, {handler}")
    asked = probe_from_keywords("kprobe", symbol, HANDLERS[handler], {
        **options, "buffer": BUFFER, "max_events": 10**12, "name": "cost",
    })  # fmt: skip
    run = prepare(asked, connection)
    if name == "bpf fentry":
        run = Run(connection, run.plan, as_fentry(run.plan, run.artifact, connection), CARD)
        return Probed(name, handler, run)
    return Probed(name, handler, run)


def as_fentry(plan: Plan, artifact: Artifact, connection: Connection) -> Artifact:
    """Return a kprobe's object as one for fentry. Raises BuildError, TargetError."""
    symbol, source = _first_name(plan.sites[0], connection), artifact.source
    text = source.text.replace(ENTRY, FENTRY.format(symbol=symbol))
    if text == source.text:
        raise TargetError("kpmagic could not turn this handler into one for fentry",
                          hint="please report this")  # fmt: skip
    programs = tuple(_fentry(each, symbol) for each in source.programs)
    made = Source(**{**vars(source), "files": {**source.files, source.main: text},
                     "programs": programs})  # fmt: skip
    compiler = build.compiler_of(plan, connection.facts())
    object_ = build.compile_source(made, compiler, plan.probe)
    return replace(artifact, source=made, object=object_)


def _first_name(site: Site, connection: Connection) -> str:
    """Return the name of a function that ftrace and BTF know: of several at one address, one."""
    first = connection.facts().symbols.at(site.address)
    return site.symbol if first is None else first[0].name


def _fentry(program: Program, symbol: str) -> Program:
    return replace(program, symbol=symbol, fentry=True)
