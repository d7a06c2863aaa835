# SPDX-License-Identifier: MIT
"""A command that sleeps in the kernel, where no signal ends it: only its own run must let it be."""

from __future__ import annotations

import time

import kpmagic
from kpmagic.channel.connection import Connection

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
READ = "exec cat /sys/module/slow/parameters/slow"


def test_a_command_that_does_not_die(sandbox: Connection) -> None:
    """Its run ends with its numbers, and the others' hits arrive meanwhile."""
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
    assert sandbox.run("/bin/true") == 0
