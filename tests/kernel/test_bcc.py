# SPDX-License-Identifier: MIT
"""%%bcc: the kprobe lessons of BCC's Python tutorial as cells, on a real kernel.

The C is the tutorial's (docs/tutorial_bcc_python_developer.md of BCC), whose Python is what
kpmagic does: attach, read, show. A cell compiles in 5 to 20 s under emulation.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from interrupting import interrupt_with_rows
from IPython.core.interactiveshell import InteractiveShell

import kpmagic
from kpmagic.channel.connection import Connection

# lesson 1: Hello World
HELLO = """\
int kprobe__sys_clone(void *ctx) { bpf_trace_printk("Hello, World!\\n"); return 0; }
"""
# lessons 4 and 5: sync_timing.py, with the count of the exercise
SYNC = """\
#include <uapi/linux/ptrace.h>

BPF_HASH(last);

int do_trace(struct pt_regs *ctx) {
    u64 ts, *tsp, delta, key = 0;

    // attempt to read stored timestamp
    tsp = last.lookup(&key);
    if (tsp != NULL) {
        delta = bpf_ktime_get_ns() - *tsp;
        if (delta < 1000000000) {
            // output if time is less than 1 second
            bpf_trace_printk("%d\\n", delta / 1000000);
        }
        last.delete(&key);
    }

    // update stored timestamp
    ts = bpf_ktime_get_ns();
    last.update(&key, &ts);
    return 0;
}
"""
# lesson 7: hello_perf_output.py
PERF = """\
#include <linux/sched.h>

// define output data structure in C
struct data_t {
    u32 pid;
    u64 ts;
    char comm[TASK_COMM_LEN];
};
BPF_PERF_OUTPUT(events);

int hello(struct pt_regs *ctx) {
    struct data_t data = {};

    data.pid = bpf_get_current_pid_tgid();
    data.ts = bpf_ktime_get_ns();
    bpf_get_current_comm(&data.comm, sizeof(data.comm));

    events.perf_submit(ctx, &data, sizeof(data));

    return 0;
}
"""
# lesson 11: vfsreadlat.c
LATENCY = """\
#include <uapi/linux/ptrace.h>

BPF_HASH(start, u32);
BPF_HISTOGRAM(dist);

int do_entry(struct pt_regs *ctx)
{
    u32 pid;
    u64 ts, *val;

    pid = bpf_get_current_pid_tgid();
    ts = bpf_ktime_get_ns();
    start.update(&pid, &ts);
    return 0;
}

int do_return(struct pt_regs *ctx)
{
    u32 pid;
    u64 *tsp, delta;

    pid = bpf_get_current_pid_tgid();
    tsp = start.lookup(&pid);

    if (tsp != 0) {
        delta = bpf_ktime_get_ns() - *tsp;
        dist.increment(bpf_log2l(delta / 1000));
        start.delete(&pid);
    }

    return 0;
}
"""
# lesson 16: task_switch.c
SWITCH = """\
#include <uapi/linux/ptrace.h>
#include <linux/sched.h>

struct key_t {
    u32 prev_pid;
    u32 curr_pid;
};

BPF_HASH(stats, struct key_t, u64, 1024);
int count_sched(struct pt_regs *ctx, struct task_struct *prev) {
    struct key_t key = {};
    u64 zero = 0, *val;

    key.curr_pid = bpf_get_current_pid_tgid();
    key.prev_pid = prev->pid;

    // could also use `stats.increment(key);`
    val = stats.lookup_or_try_init(&key, &zero);
    if (val) {
      (*val)++;
    }
    return 0;
}
"""
SYNCS = "i=0; while [ $i -lt 7 ]; do sync; i=$((i+1)); done"


def helpers(sandbox: Connection) -> str:
    """Return what is there of BCC's processes: cgroups, and file systems of theirs."""
    said: list[str] = []
    sandbox.run("ls -d /sys/fs/cgroup/kpmagic.*.bcc 2>/dev/null; grep kpmagic /proc/mounts; true",
                lambda stream, text: said.append(text))  # fmt: skip
    return "".join(line for line in said if "/run/kpmagic" not in line)


def run_cell(cell: InteractiveShell, line: str, source: str) -> kpmagic.peers.run.PeerRun:
    cell.run_cell(f"%%bcc {line} -o run\n{source}").raise_error()
    return cell.user_ns["run"]


def test_lesson_1_prints_a_line_for_each_clone(cell: InteractiveShell) -> None:
    run = run_cell(cell, "--while \"bash -c 'for i in 1 2 3 4 5; do (:); done'\"", HELLO)
    frame = run.df()
    mine = frame[frame.comm == "bash"]
    assert len(mine) == 5
    assert mine.text.eq("Hello, World!").all()
    assert list(frame.columns) == ["time", "event", "cpu", "pid", "comm", "text"]
    assert mine.event.astype(str).eq("trace_printk").all()
    assert run.name == "kprobe__sys_clone"


def test_lesson_5_times_what_follows_within_a_second(cell: InteractiveShell) -> None:
    run = run_cell(cell, f"__x64_sys_sync --while '{SYNCS}'", SYNC)
    assert 1 <= run.stats.rows <= 6
    assert run.df().text.astype(int).between(0, 1000).all()
    assert list(run.aggregates["last"].columns) == ["key", "value"]
    assert len(run.aggregates["last"]) == 1


def test_lesson_7_has_its_events_as_rows(cell: InteractiveShell, tmp_path: Path) -> None:
    run = run_cell(cell, f"__x64_sys_sync --while '{SYNCS}'", PERF)
    frame = run.df()
    assert list(frame.columns) == ["time", "event", "cpu", "pid", "ts", "comm"]
    assert frame.comm.tolist() == ["sync"] * 7
    assert frame.ts.is_monotonic_increasing
    assert frame.event.astype(str).eq("events").all()
    assert "7 events; 0 events lost" in str(run)
    loaded = kpmagic.load(run.save(tmp_path / "run.parquet"))
    assert loaded.df().equals(frame)
    assert str(loaded) == str(run)


def test_lesson_11_has_its_histogram_as_a_table(cell: InteractiveShell) -> None:
    command = "dd if=/dev/zero of=/dev/null bs=10 count=10007"
    line = f"do_entry=vfs_read do_return=vfs_read%return --while '{command}'"
    run = run_cell(cell, line, LATENCY)
    table = run.aggregates["dist"]
    assert list(table.columns) == ["low", "high", "count"]
    assert table["count"].sum() >= 10007
    assert (table.high == table.low.replace(0, 1) * 2).all()
    assert run.plot().data


def test_lesson_16_counts_by_a_struct(cell: InteractiveShell, tmp_path: Path) -> None:
    run = run_cell(cell, "finish_task_switch* --while 'sleep 0.2'", SWITCH)
    table = run.aggregates["stats"]
    assert list(table.columns) == ["prev_pid", "curr_pid", "value"]
    assert table.value.sum() > 2
    loaded = kpmagic.load(run.save(tmp_path / "run.parquet"))
    assert loaded.aggregates["stats"].equals(table)


def test_errors_and_warnings_stand_at_the_cells_lines(cell: InteractiveShell) -> None:
    wrong = cell.run_cell(f"%%bcc vfs_read --for 1s -q\n{PERF.replace('data.ts =', 'data.tt =')}")
    assert isinstance(wrong.error_in_exec, kpmagic.BuildError)
    assert wrong.error_in_exec.place is not None
    assert (wrong.error_in_exec.place.line, wrong.error_in_exec.place.column) == (16, 10)
    warned = PERF.replace("return 0;", "u32 *wrong = 5; return wrong != 0;")
    run = run_cell(cell, "__x64_sys_sync --for 10ms", warned)
    assert re.search(r"In\[\d+\]:21:\d+: warning: .*conversion", run.said), run.said
    assert "conversion" in str(run)


def test_the_verifiers_words_and_the_kernels_are_shown(sandbox: Connection) -> None:
    bad = "int kprobe__vfs_read(struct pt_regs *ctx) { return *(long *)8; }"
    with pytest.raises(kpmagic.VerifierError, match="invalid mem access"):
        kpmagic.bcc(bad, target=sandbox, duration="1s")
    with pytest.raises(kpmagic.AttachError, match="vfs_raed"):
        kpmagic.bcc(bad.replace("read", "raed").replace("*(long *)8", "0"), target=sandbox,
                    duration="1s")  # fmt: skip
    assert helpers(sandbox) == ""


def test_a_helper_that_is_killed_keeps_its_rows(sandbox: Connection) -> None:
    run = kpmagic.bcc(PERF, "vfs_read", target=sandbox)
    while not run.stats.rows:
        run.wait(0.1)
    sandbox.run("kill -9 $(cat /sys/fs/cgroup/kpmagic.*.bcc/cgroup.procs)")
    assert run.wait("5s")
    assert run.state == "failed"
    assert "signal 9" in run.error
    assert len(run.df()) >= 1
    assert helpers(sandbox) == ""


def test_an_interrupt_ends_it_and_keeps_what_it_had(
    cell: InteractiveShell, sandbox: Connection
) -> None:
    with interrupt_with_rows(cell, "late"):
        cell.run_cell(f"%%bcc vfs_read --for 10m -o late\n{PERF}").raise_error()
    assert cell.user_ns["late"].stopped_by == "interrupt"
    assert cell.user_ns["late"].stats.rows
    assert helpers(sandbox) == ""


def test_without_bcc_the_package_is_named(sandbox: Connection) -> None:
    folder = "/usr/lib/python3/dist-packages/bcc"
    assert sandbox.run(f"mv {folder} {folder}.away") == 0
    try:
        with pytest.raises(kpmagic.MissingDependency, match="apt-get install python3-bpfcc"):
            kpmagic.bcc(HELLO, target=sandbox, duration="1s")
        with pytest.raises(kpmagic.MissingDependency, match="apt-get install python3-bpfcc"):
            kpmagic.probe("vfs_read", "count();", target=sandbox, backend="bcc", duration="1s")
        sandbox.run(f"mkdir {folder}; echo '__version__ = \"0.9.0\"' > {folder}/__init__.py")
        with pytest.raises(kpmagic.MissingDependency, match=r"too old: 0\.9\.0"):
            kpmagic.bcc(HELLO, target=sandbox, duration="1s")
        with pytest.raises(kpmagic.MissingDependency, match=r"too old: 0\.9\.0"):
            kpmagic.probe("vfs_read", "count();", target=sandbox, backend="bcc", duration="1s")
        sandbox.run(f"echo 'import ctypes; ctypes.CDLL(\"libbcc.so.x\")' > {folder}/__init__.py")
        with pytest.raises(kpmagic.MissingDependency, match=r"libbcc\.so\.x: cannot") as caught:
            kpmagic.bcc(HELLO, target=sandbox, duration="1s")
        assert "--reinstall python3-bpfcc" in str(caught.value)
    finally:
        sandbox.run(f"rm -rf {folder}; mv {folder}.away {folder}")
