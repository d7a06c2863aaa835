# SPDX-License-Identifier: MIT
"""What is measured side by side: the same probe of vfs_read by each tool, over one workload."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import newest
from figures import Figures
from machine import BUILT, CALLS, Machine, Workload

import kpmagic
from kpmagic.errors import KpmagicError

# shape → kpmagic's body, bpftrace's script, the fields of a tracefs event (None: it has no such)
SHAPES: dict[str, tuple[str, str, str | None]] = {
    "empty": ("emit();", 'printf("\\n");', ""),
    "integers": ("emit(file = (u64)file, buf = (u64)buf, count);",
                 'printf("%d %d %d\\n", arg0, arg1, arg2);', "file=%di buf=%si count=%dx"),
    "string": ("emit(file->f_path.dentry->d_name.name);",
               'printf("%s\\n", str(((struct file *)arg0)->f_path.dentry->d_name.name));', None),
    "stack": ("emit(kstack());", 'printf("%s\\n", kstack);', None),
    "counted": ("count(by = comm);", "@[comm] = count();", None),
    "histogram": ("hist(count, by = comm);", "@[comm] = hist(arg2);", None),
    "returned": ("emit(retval, latency);", "", "$retval"),
}  # fmt: skip
RETURNED = ("kprobe:vfs_read { @t[tid] = nsecs; } kretprobe:vfs_read /@t[tid]/ "
            '{ printf("%d %d\\n", retval, nsecs - @t[tid]); delete(@t[tid]); }')  # fmt: skip
TRACEFS = "/sys/kernel/tracing"


@dataclass(frozen=True)
class Outcome:
    """One run: the workload, events delivered and told to be lost (None: not told), and ns of
    processor time that the consumer used in the sandbox and on the host."""

    workload: Workload
    delivered: int = 0
    lost: int | None = None
    guest: int = 0
    host: int = 0


Tool = Callable[[Machine, str, int], Outcome]


def kpmagic_with(backend: str) -> Tool:
    """Return the tool that is ours, with a backend."""

    def run(machine: Machine, shape: str, calls: int) -> Outcome:
        kind = kpmagic.retprobe if shape == "returned" else kpmagic.probe
        guest, host = agent_time(machine), time.process_time_ns()
        run = kind("vfs_read", SHAPES[shape][0], target=machine.vm, command=f"{CALLS} {calls}",
                   backend=backend, max_events=1 << 40, name="bench")  # fmt: skip
        run.df()
        host, guest = time.process_time_ns() - host, agent_time(machine) - guest
        stats = run.stats
        assert run.workload is not None
        assert stats.hits == stats.rows + stats.filtered + stats.sampled + stats.dropped \
            or shape in ("counted", "histogram")  # fmt: skip
        workload = Workload.of(run.workload.stdout.split())
        return Outcome(workload, stats.rows, stats.dropped, guest, host)

    return run


def agent_time(machine: Machine) -> int:
    """Return the processor time, in ns, that the agent has used."""
    words = machine.shell("cat /proc/$PPID/stat").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * 10_000_000  # man 5 proc: ticks, 100 a second


def floor(machine: Machine, shape: str, calls: int) -> Outcome:
    """Run the hand-written libbpf program."""
    told = machine.timed(f"{BUILT}/floor {machine.floor()} {shape} {CALLS} {calls}")
    words = told.output.split()
    return Outcome(Workload.of(words), int(words[4]), int(words[5]), told.used - int(words[3]))


def bpftrace_at(program: str) -> Tool:
    """Return a bpftrace."""

    def run(machine: Machine, shape: str, calls: int) -> Outcome:
        script = RETURNED if shape == "returned" else f"kprobe:vfs_read {{ {SHAPES[shape][1]} }}"
        target = Path(BUILT / "script.bt")
        target.write_text(script)
        told = machine.timed(f"sh -c '{program} {target} -c \"{CALLS} {calls}\" "
                             ">/tmp/events 2>/tmp/told; tail -n 3 /tmp/told'")  # fmt: skip
        workload = machine.shell("grep -aE '^[0-9.]+ [0-9.]+ [0-9]+ [0-9]+$' /tmp/events")
        lines = int(machine.shell("wc -l </tmp/events"))
        lost = machine.shell("cat /tmp/events /tmp/told | grep -aE '^Lost [0-9]+' || true")
        events = sum(int(number) for number in re.findall(r"Lost (\d+)", lost))
        delivered = max(0, lines - 1 - len(lost.splitlines()))
        which = Workload.of(workload.split()[:4])
        return Outcome(which, delivered, events, told.used - which.used)

    return run


def bcc_with(output: str) -> Tool:
    """Return BCC with its perf or ring buffer."""

    def run(machine: Machine, shape: str, calls: int) -> Outcome:
        return Outcome(*machine.bcc.run(shape, output, calls))

    return run


def tracefs(machine: Machine, shape: str, calls: int) -> Outcome:
    """Run a kprobe event of tracefs; nobody reads its buffer."""
    fields = SHAPES[shape][2]
    if fields is None:
        raise NotImplementedError(shape)
    kind = "r" if shape == "returned" else "p"
    event = f"{TRACEFS}/events/kprobes/bench/enable"
    said = machine.shell(
        f"echo '{kind}:bench vfs_read {fields}' >{TRACEFS}/kprobe_events && echo 1 >{event}; "
        f"{CALLS} {calls}; echo 0 >{event}; echo >{TRACEFS}/kprobe_events"
    )
    return Outcome(Workload.of(said.split()))


BPFTRACES = {"bpftrace": "bpftrace"}  # name → what a shell starts it with
TOOLS: dict[str, Tool] = {
    "kpmagic bpf": kpmagic_with("bpf"),
    "libbpf C": floor,
    "kpmagic kmod": kpmagic_with("kmod"),
    "bpftrace": bpftrace_at("bpftrace"),
    "BCC perf buffer": bcc_with("perf"),
    "BCC ring buffer": bcc_with("ring"),
    "tracefs": tracefs,
}


def with_newest(figures: Figures) -> list[str]:
    """Take the newest bpftrace among the tools; return its name, nothing where it is not."""
    try:
        program, version = newest.bpftrace()
    except KpmagicError as error:
        figures.note(f"no newer bpftrace beside this release's: {error.message}")
        return []
    name = f"bpftrace {version}"
    BPFTRACES[name] = program
    TOOLS[name] = bpftrace_at(program)
    return [name]


def most_turns(name: str, turns: int) -> int:
    """Return how often a tool is asked: a newer bpftrace takes half a minute to start, emulated."""
    return min(turns, 2) if name in BPFTRACES and name != "bpftrace" else turns


def has(name: str, shape: str) -> bool:
    """Whether a tool can do a shape, and does not do the same as another with it."""
    if name == "tracefs":
        return SHAPES[shape][2] is not None
    return not (name == "BCC ring buffer" and shape in ("counted", "histogram"))
