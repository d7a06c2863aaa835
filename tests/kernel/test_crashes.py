# SPDX-License-Identifier: MIT
"""Handlers that end their kernel: each ends with a report, and the next cell has a fresh one.

Each deed is done once with the other tests; ``make crash`` does each of them many times.
"""

from __future__ import annotations

import os
import time

import pytest
from samples import CLASSIC

import kpmagic
from kpmagic.channel.connection import Connection

ROUNDS = int(os.environ.get("KPMAGIC_ROUNDS", "1"))
# what the handler does, and what the kernel says of it
DEEDS = {
    "null": ("*(volatile long *)8 = 1;", "NULL pointer dereference"),
    "loop": ("while (1) cpu_relax();", "soft lockup"),
    "panic": ('panic("on purpose");', "on purpose"),
    "sleep": ("msleep(100);", "scheduling while atomic"),
}
UNNOTICED = "before 5.11 the kernel does not count what keeps it from being preempted"
NOTICED = 15.0  # s, and the time in which the module is built is not part of it
BEFORE = 'printk(KERN_INFO "pre_handler'
# what nobody but the command calls: the module is loaded before its handler runs
SAMPLE = "#include <linux/delay.h>\n" + CLASSIC.replace("do_fork", "__x64_sys_getsid")
HIT = "python3 workloads/getsid.py 2; sleep 60"


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("deed", DEEDS)
def test_a_deadly_handler_ends_with_a_report(sandbox: Connection, deed: str, turn: int) -> None:
    if deed == "sleep" and sandbox.release.startswith("5.10."):
        pytest.skip(f"a handler that sleeps goes unnoticed here: {UNNOTICED}")
    statement, words = DEEDS[deed]
    source = SAMPLE.replace(BEFORE, f"{statement}\n\t{BEFORE}")
    before = kpmagic.probe("vfs_read", "emit(count);", target=sandbox, command="cat /etc/hostname",
                           follow=True)  # fmt: skip
    rows = before.df()
    other = kpmagic.probe("vfs_open", "emit(pid);", target=sandbox)
    run = kpmagic.module("bad", source, target=sandbox)
    began = time.monotonic()
    with pytest.raises(kpmagic.TargetError):
        sandbox.run(HIT)
    assert run.wait(NOTICED)
    assert time.monotonic() - began < NOTICED
    assert run.stopped_by == "target-lost"
    assert words in run.last_words
    assert any(each.module == "bad" and each.line for each in run.oops()), run.oops()
    assert "the kernel died" in str(run)
    assert other.wait(5)
    assert other.stopped_by == "target-lost"
    assert len(other.df()) == other.stats.rows
    assert before.df().equals(rows)
    assert len(rows) == before.stats.rows > 0


def test_a_handler_that_sleeps_is_named_before_it_does(sandbox: Connection) -> None:
    source = SAMPLE.replace(BEFORE, f"msleep(100);\n\t{BEFORE}")
    run = kpmagic.module("bad", source, target=sandbox, dry_run=True)
    assert "handler_pre: msleep() may sleep" in str(run)


def test_the_next_cell_has_a_fresh_kernel(sandbox: Connection) -> None:
    run = kpmagic.probe("vfs_read", "count();", target=sandbox, command="cat /etc/hostname")
    assert run.stopped_by == "while"
