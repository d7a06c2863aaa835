# SPDX-License-Identifier: MIT
"""%%bpftrace: a script runs on a real kernel, and what it prints comes back as a run."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from interrupting import interrupt_with_rows
from IPython.core.interactiveshell import InteractiveShell

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.kp.stages import stage

READS = "dd if=/dev/zero of=/dev/null bs=10 count=10007"
SIZES = 'kretprobe:vfs_read /comm == "dd" && retval == 10/ { @n = count(); @h = hist(retval); }'

OLD = """cat > /usr/bin/bpftrace <<'END'
#!/bin/sh
echo 'bpftrace v0.9.0'
echo "invalid option -- 'f'" >&2
exit 1
END
chmod +x /usr/bin/bpftrace"""
BROKEN = OLD.replace("invalid option -- 'f'", "error while loading shared libraries: "
                     "libbcc.so.0: cannot open shared object file")  # fmt: skip


def tracers(sandbox: Connection) -> str:
    """Return what runs there of bpftrace, and cgroups of it."""
    said: list[str] = []
    sandbox.run("for each in /proc/[0-9]*/comm; do grep -x bpftrace $each; done 2>/dev/null; "
                "ls -d /sys/fs/cgroup/kpmagic.*.bpftrace 2>/dev/null; true",
                lambda stream, text: said.append(text))  # fmt: skip
    return "".join(said)


def test_counts_are_exact_and_the_command_is_the_runs(
    cell: InteractiveShell, tmp_path: Path
) -> None:
    cell.run_cell(f"%%bpftrace --while '{READS}' -o run\n{SIZES}").raise_error()
    run = cell.user_ns["run"]
    assert run.aggregates["@n"].to_dict("list") == {"count": [10007]}
    assert run.aggregates["@h"].to_dict("list") == {"low": [8], "high": [16], "count": [10007]}
    assert run.stopped_by == "while"
    assert run.workload.exit_code == 0
    assert "10007+0 records" in run.workload.stderr
    assert stage(run, "source").strip() == SIZES
    assert run.plot("hist").data
    path = run.save(tmp_path / "run.parquet")
    assert str(kpmagic.load(path)) == str(run)
    cell.run_cell(f"%kp target replay:{path}").raise_error()
    cell.run_cell(f"%%bpftrace --while '{READS}' -o again\n{SIZES}").raise_error()
    again = cell.user_ns["again"]
    assert again.aggregates["@n"].to_dict("list") == {"count": [10007]}
    assert "10007+0 records" in again.workload.stderr


def test_printf_lines_are_rows(sandbox: Connection) -> None:
    script = 'kprobe:vfs_read /comm == "dd" && arg2 == 10/ { printf("%s %d\\n", comm, arg2); }'
    run = kpmagic.bpftrace(script, target=sandbox,
                           command="dd if=/dev/zero of=/dev/null bs=10 count=23")  # fmt: skip
    assert list(run.df().text) == ["dd 10"] * 23
    assert run.stats.rows == 23
    assert run.stats.dropped == 0
    assert "23 lines; 0 events lost" in str(run)


def test_what_it_has_lost_is_counted(sandbox: Connection) -> None:
    script = ('kprobe:vfs_read /comm == "dd" && arg2 == 10/ { @ = count(); '
              'printf("%s %s %d\\n", "so that the buffer of 64 pages is soon full", comm, arg2); }')
    read = "dd if=/dev/zero of=/dev/null bs=10 count"
    # it tells of a loss with the next event of that CPU that finds room again
    more = "for cpu in 0 1; do taskset -c $cpu {read}=3; done"
    command = f"{read}=60001; for i in 1 2; do sleep 3; {more.format(read=read)}; done"
    run = kpmagic.bpftrace(script, target=sandbox, command=command)
    assert run.stats.dropped > 0
    assert run.aggregates["@"]["count"].tolist() == [60013]
    assert run.stats.rows < run.stats.rows + run.stats.dropped <= 60013
    assert run.stats.rows + run.stats.dropped > 50000
    assert "events lost" in str(run)


def test_a_script_that_never_ends_stops_and_keeps_what_it_had(cell: InteractiveShell) -> None:
    script = 'interval:s:3 { printf("here\\n"); } kprobe:vfs_read { @[comm] = count(); }'
    with interrupt_with_rows(cell, "run"):
        cell.run_cell(f"%%bpftrace --for 10m -o run\n{script}").raise_error()
    run = cell.user_ns["run"]
    assert run.stopped_by == "interrupt"
    assert run.df().text.iloc[0] == "here"
    assert len(run.aggregates["@"]) >= 1


def test_an_interrupt_while_it_compiles_leaves_nothing(
    cell: InteractiveShell, sandbox: Connection
) -> None:
    interrupt = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    result = cell.run_cell("%%bpftrace --for 10m -q\nkprobe:vfs_read { @ = count(); }")
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    time.sleep(1)
    assert tracers(sandbox) == ""


def test_one_that_ends_by_itself_says_exit(sandbox: Connection) -> None:
    run = kpmagic.bpftrace('BEGIN { printf("done\\n"); exit(); }', target=sandbox, duration="20s")
    assert run.stopped_by == "exit"
    assert list(run.df().text) == ["done"]
    late = kpmagic.bpftrace('interval:ms:100 { @x = 3; exit(); }', target=sandbox, duration="20s")
    assert late.stopped_by == "exit"
    assert late.aggregates["@x"].value.tolist() == [3]
    assert tracers(sandbox) == ""


def test_one_in_the_background_is_replaced_and_stopped(
    cell: InteractiveShell, sandbox: Connection
) -> None:
    for name in ("first", "second"):
        cell.run_cell(f"%%bpftrace --bg -o {name}\nkprobe:vfs_read {{ @[comm] = count(); }}")
    first, second = cell.user_ns["first"], cell.user_ns["second"]
    assert (first.stopped_by, second.state) == ("replaced", "running")
    assert "bpftrace" in tracers(sandbox)
    cell.run_cell("%kp stop kprobe:vfs_read").raise_error()
    assert second.stopped_by == "user"
    assert len(second.aggregates["@"])
    assert tracers(sandbox) == ""


def test_errors_stand_in_the_cell(cell: InteractiveShell) -> None:
    result = cell.run_cell('%%bpftrace --for 1s -q\n\nkprobe:vfs_read { printf("%d\\n", foo); }')
    error = result.error_in_exec
    assert isinstance(error, kpmagic.BuildError)
    assert "Unknown identifier: 'foo'" in str(error)
    assert error.place is not None
    assert (error.place.line, error.place.column) == (3, 34)
    result = cell.run_cell("%%bpftrace --for 1s -q\nkprobe:vfs_raed { @ = count(); }")
    assert isinstance(result.error_in_exec, kpmagic.AttachError)
    assert "vfs_raed" in str(result.error_in_exec)


def test_one_that_is_killed_keeps_its_rows_and_says_so(sandbox: Connection) -> None:
    run = kpmagic.bpftrace('BEGIN { printf("here\\n"); }', target=sandbox)
    while not run.stats.rows:
        run.wait(0.1)
    sandbox.run("kill -9 $(grep -lx bpftrace /proc/[0-9]*/comm | cut -d/ -f3)")
    assert run.wait("5s")
    assert run.state == "failed"
    assert "signal 9" in run.error
    assert list(run.df().text) == ["here"]
    assert tracers(sandbox) == ""


def test_a_command_and_its_tracer_end_with_the_run(sandbox: Connection) -> None:
    run = kpmagic.bpftrace("kprobe:vfs_read { @ = count(); }", target=sandbox,
                           command="sleep 1000", max_time="2s")  # fmt: skip
    assert run.stopped_by == "max-time"
    assert run.workload.exit_code == 137
    assert tracers(sandbox) == ""


def test_without_bpftrace_the_package_is_named(sandbox: Connection) -> None:
    assert sandbox.run("mv /usr/bin/bpftrace /usr/bin/bpftrace.away") == 0
    try:
        with pytest.raises(kpmagic.MissingDependency, match="apt-get install bpftrace"):
            kpmagic.bpftrace("BEGIN { exit(); }", target=sandbox, duration="1s")
        assert sandbox.run(OLD) == 0
        with pytest.raises(kpmagic.MissingDependency, match="too old"):
            kpmagic.bpftrace("BEGIN { exit(); }", target=sandbox, duration="1s")
        assert sandbox.run(BROKEN) == 0
        with pytest.raises(kpmagic.BuildError, match=r"libbcc\.so\.0: cannot open"):
            kpmagic.bpftrace("BEGIN { exit(); }", target=sandbox, duration="1s")
    finally:
        sandbox.run("mv /usr/bin/bpftrace.away /usr/bin/bpftrace")
