# SPDX-License-Identifier: MIT
"""How the kernel plants probes, as run.info and the card say it: by ftrace, a jump, an int3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.errors import AttachError

INSIDE = "vfs_read+0x9"  # the beginning of an instruction on all four kernels
OPTIMISED = 15.0  # s after which the kernel's optimiser has surely run
BACKENDS = ("bpf", "kmod")


@contextmanager
def running(sandbox: Connection, place: str, backend: str, **options: Any) -> Iterator[kpmagic.Run]:
    with kpmagic.probe(place, "count();", target=sandbox, backend=backend, **options) as run:
        yield run


def wait_for(run: kpmagic.Run, how: str) -> None:
    end = time.monotonic() + OPTIMISED
    while run.info["mechanism"] != how and time.monotonic() < end:
        time.sleep(0.05)
    assert run.info["mechanism"] == how


def optimise(sandbox: Connection, on: bool) -> None:
    assert sandbox.run(f"echo {int(on)} > /proc/sys/debug/kprobes-optimization") == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_the_entry_ftrace_calls_it(sandbox: Connection, backend: str) -> None:
    with running(sandbox, "vfs_read", backend) as run:
        assert run.info["mechanism"] == "ftrace"
        assert "planted by ftrace" in str(run)
    assert run.info["mechanism"] == "ftrace"


@pytest.mark.parametrize("backend", BACKENDS)
def test_inside_it_is_an_int3_until_it_is_a_jump(sandbox: Connection, backend: str) -> None:
    optimise(sandbox, False)
    try:
        with running(sandbox, INSIDE, backend) as run:
            assert run.info["mechanism"] == "int3"
            assert "planted by int3" in str(run)
            optimise(sandbox, True)
            wait_for(run, "jump")
            assert "planted by jump" in str(run)
            optimise(sandbox, False)
            wait_for(run, "int3")
        assert run.info["mechanism"] == "int3"
    finally:
        optimise(sandbox, True)


def test_a_return_is_found_from_the_entry(sandbox: Connection) -> None:
    run = kpmagic.retprobe("vfs_read", "count();", target=sandbox, command="cat /dev/null")
    assert run.info["mechanism"] == "ftrace"


def test_many_together_are_functions_that_ftrace_calls(sandbox: Connection) -> None:
    run = kpmagic.probe("vfs_read*", "count();", target=sandbox, command="cat /dev/null")
    assert run.info["mechanism"] == "ftrace"
    assert len(run.info["attached"]) > 1


def test_places_that_differ_are_all_said(sandbox: Connection) -> None:
    optimise(sandbox, False)
    try:
        run = kpmagic.probe(["vfs_read", INSIDE], "count();", target=sandbox, command="true",
                            backend="kmod")  # fmt: skip
        assert run.info["mechanism"] == "ftrace, int3"
    finally:
        optimise(sandbox, True)


def test_a_recording_says_it_too(sandbox: Connection, tmp_path: Any) -> None:
    run = kpmagic.probe("vfs_read", "emit(count);", target=sandbox, command="cat /dev/null")
    run.save(str(tmp_path / "one.parquet"))
    assert "planted by ftrace" in str(kpmagic.load(str(tmp_path / "one.parquet")))


def said(sandbox: Connection, command: str) -> str:
    pieces: list[str] = []
    sandbox.run(command, lambda _, text: pieces.append(text))
    return "".join(pieces).strip()


def position(sandbox: Connection) -> str:
    return sandbox.read("/proc/sys/debug/kprobes-optimization").decode().strip()


READS = "dd if=/dev/zero of=/dev/null bs=10 count=23 status=none"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["ftrace", "jump", "int3"])
def test_it_is_planted_as_asked(sandbox: Connection, backend: str, how: str) -> None:
    run = kpmagic.probe("vfs_read", "emit(count, name = str(file->f_path.dentry->d_name.name));",
                        target=sandbox, backend=backend, mechanism=how, command=READS,
                        follow=True)  # fmt: skip
    assert run.info["mechanism"] == how
    rows = run.df()
    assert (rows[rows.name == "zero"]["count"] == 10).sum() == 23
    assert ("behind ftrace's call" in str(run)) == (how != "ftrace")
    assert position(sandbox) == "1"


@pytest.mark.parametrize("how", ["ftrace", "int3"])
def test_a_function_of_several_names_is_planted_as_asked(sandbox: Connection, how: str) -> None:
    """Ftrace lists one of them only."""
    run = kpmagic.probe("__x64_sys_getppid", "count();", target=sandbox, backend="kmod",
                        mechanism=how, duration="50ms")  # fmt: skip
    assert run.info["mechanism"] == how


def test_the_switch_is_moved_and_put_back(sandbox: Connection) -> None:
    with running(sandbox, INSIDE, "bpf", mechanism="int3") as run:
        assert run.info["mechanism"] == "int3"
        assert position(sandbox) == "0"
        with running(sandbox, INSIDE, "bpf", mechanism="int3", name="another"):
            assert position(sandbox) == "0"
        assert position(sandbox) == "0"
        with pytest.raises(kpmagic.AttachError, match="the other way round"):
            kpmagic.probe("vfs_write+0x9", "count();", target=sandbox, mechanism="jump")
    assert position(sandbox) == "1"
    optimise(sandbox, False)
    try:
        with running(sandbox, INSIDE, "bpf", mechanism="jump") as run:
            assert run.info["mechanism"] == "jump"
            assert position(sandbox) == "1"
        assert position(sandbox) == "0"
    finally:
        optimise(sandbox, True)


def test_a_module_that_stays_an_int3_moves_no_switch(sandbox: Connection) -> None:
    with running(sandbox, INSIDE, "kmod", mechanism="int3") as run:
        assert position(sandbox) == "1"
        time.sleep(2)
        assert run.info["mechanism"] == "int3"
        assert "post_handler" in run.source


@pytest.mark.parametrize(
    ("probe", "place", "how", "why"),
    [
        ("kprobe", INSIDE, "ftrace", "from a function's entry only"),
        ("kretprobe", "vfs_read", "int3", "a return probe sits at its function's entry"),
        ("kretprobe", "vfs_read", "jump", "a return probe sits at its function's entry"),
    ],
)
def test_what_cannot_be_had_is_told_why(
    sandbox: Connection, probe: str, place: str, how: str, why: str
) -> None:
    plant = kpmagic.probe if probe == "kprobe" else kpmagic.retprobe
    with pytest.raises(kpmagic.AttachError, match=why):
        plant(place, "count();", target=sandbox, mechanism=how, command="true")
    assert position(sandbox) == "1"


def test_a_place_that_is_jumped_to_is_no_jump(sandbox: Connection) -> None:
    """Looked for in the kernel's own code: the first place in vfs_read the rules forbid."""
    import re

    refused = []
    for offset in range(9, 0x80):
        try:
            kpmagic.probe(f"vfs_read+{offset:#x}", "count();", target=sandbox, mechanism="jump",
                          command="true")  # fmt: skip
        except kpmagic.AttachError as error:
            refused.append(str(error))
        if any("--mechanism jump" in each for each in refused):
            break
    assert re.search("makes no jump of vfs_read.*: ", refused[-1])


@pytest.mark.parametrize("how", ["int3", "jump"])
def test_where_each_turn_of_a_loop_would_be_a_hit(sandbox: Connection, how: str) -> None:
    with pytest.raises(AttachError, match=r"hrtimer_active\+0x\w+ jumps back to hrtimer_active\+"):
        kpmagic.probe("hrtimer_active", "count();", target=sandbox, mechanism=how)
    with kpmagic.probe("hrtimer_*", "count();", target=sandbox, mechanism="int3") as run:
        assert "hrtimer_active" not in {site.symbol for site in run.plan.sites}
    assert any(each.name == "hrtimer_active" and "jumps back" in each.why
               for each in run.plan.left_out)  # fmt: skip


def test_a_walk_that_finds_no_callers_is_told(sandbox: Connection) -> None:
    """The function begins with a push of one byte, on all four kernels."""
    options = {"target": sandbox, "command": "cat /etc/passwd", "follow": True}
    depths = {}
    for how in ("ftrace", "int3"):
        run = kpmagic.probe("do_filp_open", "emit(kstack());", mechanism=how, **options)
        depths[how] = max(map(len, run.df()["kstack"]))
        assert ("kstack() may find no callers there" in run.info["note"]) is (how == "int3")
    assert depths["ftrace"] > 3 > depths["int3"]
    run = kpmagic.probe("do_filp_open", "count();", mechanism="int3", **options)
    assert "kstack" not in run.info["note"]


def test_functions_of_a_wildcard_that_cannot_are_left_out(sandbox: Connection) -> None:
    run = kpmagic.probe("vfs_*", "count(by = func);", target=sandbox, mechanism="int3",
                        command="cat /etc/passwd")  # fmt: skip
    assert run.info["mechanism"] == "int3"
    assert run.stats.hits > 0
    assert position(sandbox) == "1"


KILLED = """\
set -e
echo 1 > /proc/sys/debug/kprobes-optimization
cat > /tmp/hold.py <<'X'
import sys, time
sys.path.insert(0, "/run/kpmagic/agent.pyz")
from kpmagic.agent.optimiser import held
held.hold(1, "0")
print("held", flush=True)
time.sleep(600)
X
python3 /tmp/hold.py > /tmp/hold.out & PID=$!
while ! grep -q held /tmp/hold.out; do sleep 0.05; done
cat /proc/sys/debug/kprobes-optimization
ls /run/kpmagic-optimiser | wc -l
{kill}
for i in $(seq {looks}); do
    [ $(cat /proc/sys/debug/kprobes-optimization) = 1 ] && break
    sleep 0.05
done
cat /proc/sys/debug/kprobes-optimization
ls /run/kpmagic-optimiser | wc -l
"""


def test_a_killed_agent_leaves_the_switch_as_it_was(sandbox: Connection) -> None:
    command = KILLED.format(kill="kill -9 $PID", looks=100)
    assert said(sandbox, command).split() == ["0", "1", "1", "0"]


def test_the_next_agent_puts_back_what_was_left(sandbox: Connection) -> None:
    kill = "kill -9 $(pgrep -f '[k]pmagic-guard'); kill -9 $PID; sleep 0.3"
    assert said(sandbox, KILLED.format(kill=kill, looks=5)).split() == ["0", "1", "0", "1"]
    answer, _ = sandbox.request("clean")
    assert "debug.kprobes-optimization=1" in answer["removed"]
    assert position(sandbox) == "1"
