# SPDX-License-Identifier: MIT
"""What one run meets is not the end of the others."""

from __future__ import annotations

import time

import pytest

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.channel.exchange import Reply
from kpmagic.errors import TargetError

SLEEP = 12  # s
SLOW = f"""
#include <linux/module.h>
#include <linux/delay.h>

static int slow(char *buffer, const struct kernel_param *param)
{{
    msleep({SLEEP * 1000});
    return 0;
}}
static const struct kernel_param_ops ops = {{ .get = slow }};
module_param_cb(slow, &ops, NULL, 0444);
MODULE_LICENSE("GPL");
"""
SCARCE = "prlimit --pid {0} --nofile=8:65536; sleep 4; prlimit --pid {0} --nofile=65536:65536"
FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"
HOP = "hop() { (hop &); }; for each in $(seq 200); do hop; done; sleep 60"
READ = "exec cat /sys/module/slow/parameters/slow"
LEFT = "ls -d /sys/fs/cgroup/kpmagic.*; ps -o stat= --ppid {0} | grep Z"


def test_a_command_that_does_not_die(sandbox: Connection) -> None:
    """It sleeps in the kernel, where no signal ends it; the run ends, and others' hits arrive."""
    with (
        kpmagic.module("slow", SLOW, target=sandbox),
        kpmagic.probe("kernel_clone", "emit(pid);", target=sandbox, name="other") as other,
    ):
        began = time.monotonic()
        run = kpmagic.probe("vfs_read", "emit(count);", target=sandbox, command=READ,
                            max_time="1s", follow=True)  # fmt: skip
        assert run.stopped_by == "max-time"
        assert len(run.df()) == run.stats.hits > 0
        assert sandbox.run("/bin/true") == 0
        assert time.monotonic() - began < SLEEP
        assert other.state == "running"
        assert other.stop().stats.hits >= 1
        time.sleep(max(0.0, began + SLEEP + 1 - time.monotonic()))
    assert len(left(sandbox)) == 1, "the looking one's own cgroup is not the only one"
    assert sandbox.run("/bin/true") == 0


def left(sandbox: Connection) -> list[str]:
    """Return the cgroups of commands, and what is dead and not waited for."""
    texts: list[str] = []
    sandbox.run(LEFT.format(sandbox.hello["pid"]), lambda _, text: texts.append(text))
    return "".join(texts).split()


def test_processes_that_fork_and_end(sandbox: Connection) -> None:
    """Whoever kills what is listed there kills none: each is another process by then."""
    kpmagic.probe("kernel_clone", "emit(pid);", target=sandbox, command=HOP, max_time="1s")
    assert len(left(sandbox)) == 1, "the looking one's own cgroup is not the only one"


def run_until(reply: Reply, sandbox: Connection) -> None:
    """Run commands until an answer is there."""
    while not reply.done.is_set():
        sandbox.run("/bin/true")


def test_no_descriptors_for_a_while(sandbox: Connection) -> None:
    """A command that cannot be watched ends with an error; what was there before goes on."""
    with kpmagic.probe("kernel_clone", "emit(pid);", target=sandbox, name="first") as first:
        before = first.stats.hits
        scarce = sandbox.ask("run", run=sandbox.new_number(),
                             command=SCARCE.format(sandbox.hello["pid"]))  # fmt: skip
        with pytest.raises(TargetError, match="Too many open files"):
            run_until(scarce, sandbox)
        assert first.state == "running"
        assert scarce.done.wait(60)
        assert scarce.answer()[0] == {"exit_code": 0}
        sandbox.run(FORKS)
        stats = first.stop().stats
    assert stats.hits - before >= 23
    assert stats.balanced
    assert len(first.df()) == stats.rows
