# SPDX-License-Identifier: MIT
"""Probes as a module: what the agent reads from it, and what a body may not do there."""

from __future__ import annotations

import re
import struct

import pytest

from kpmagic.agent.tables import merge
from kpmagic.backends.kmod_checks import check, warnings
from kpmagic.cell.syntax import parse_probe
from kpmagic.errors import BuildError, CellError
from kpmagic.model import Module, Options
from kpmagic.modules import oops
from kpmagic.targets import console

SLOTS = 4


def slot(key: bytes = b"", n: int = 0, v: int = 0) -> bytes:
    return struct.pack("<QQq8s", bool(key), n, v, key)


def test_tables_of_the_cpus_become_one() -> None:
    first = slot() + slot(b"a" * 8, 2, -5) + slot() + slot(b"b" * 8, 1, 1)
    second = slot(b"a" * 8, 7, 9) + slot() * 3
    entries, blob = merge(first + second, 8, SLOTS, 2)
    assert entries == 2
    a = b"a" * 8 + struct.pack("<QqQq", 2, -5, 7, 9)
    b = b"b" * 8 + struct.pack("<QqQq", 1, 1, 0, 0)
    assert blob == a + b


def test_an_empty_table_has_no_entries() -> None:
    assert merge(slot() * SLOTS * 2, 8, SLOTS, 2) == (0, b"")


@pytest.mark.parametrize(
    "body",
    ["for (;;) count();", "int i;\nfor (i = 0; ; i++) count();", "while (1) count();",
     """if (c == '"') while (1) ; if (d == '"') count();""",
     "while ( true ) ;", "do count(); while (0x1);", "again: count(); goto again;"],
)  # fmt: skip
def test_a_loop_without_an_end_is_refused(body: str) -> None:
    with pytest.raises(CellError, match="kprobes") as caught:
        check(parse_probe("kprobe", "vfs_read", body))
    assert caught.value.place is not None


def test_a_define_hides_no_loop() -> None:
    with pytest.raises(CellError, match="has no end") as caught:
        check(parse_probe("kprobe", "vfs_read -D EVER=1", "count();\n  while (EVER) ;"))
    assert caught.value.place is not None
    assert (caught.value.place.line, caught.value.place.column) == (3, 3)


@pytest.mark.parametrize(
    "body",
    [None, "for (int i = 0; i < 9; i++) count();", "while (a < 10) a++;", "/* for (;;) */ count();",
     'emit(text = str("while (1)"));', "do count(); while (0);"],
)  # fmt: skip
def test_other_loops_are_not(body: str | None) -> None:
    check(parse_probe("kprobe", "vfs_read", body))


@pytest.mark.parametrize(
    ("body", "why"),
    [("msleep(1);", "may sleep"), ("char *p = kmalloc(8, GFP_KERNEL);", "allocates"),
     ("spin_lock(&lock);", "waits for a lock"), ("mutex_lock(&lock);", "may sleep"),
     ("__builtin_memset(file, 0, 8);", "is the end of the machine"),
     ("__sync_fetch_and_add(&file->f_flags, 1);", "is the end of the machine"),
     ("copy_from_user(a, buf, 8);", "memory of a process"), ("get_user(c, buf);", "of a process")],
)  # fmt: skip
def test_a_call_that_no_handler_may_make_is_refused_with_its_reason(body: str, why: str) -> None:
    with pytest.raises(BuildError, match=why) as caught:
        check(parse_probe("kprobe", "vfs_read", f"emit(pid);\n{body}"))
    assert "kprobes.rst" in caught.value.hint
    assert caught.value.place is not None
    assert caught.value.place.line == 3


def test_a_whole_modules_handlers_are_looked_at_and_nothing_else() -> None:
    source = """\
static int before(struct kprobe *p, struct pt_regs *regs)
{
	if (regs) { msleep(5); /* kmalloc( */ }
	return 0;
}
static void unused(void) { mutex_lock(&m); }
static struct kprobe kp = { .symbol_name = "schedule(", .pre_handler = before };
static int __init start(void) { kp.post_handler = after; return register_kprobe(&kp); }
static void after(struct kprobe *p, struct pt_regs *regs, unsigned long flags) { for (;;) ; }
"""
    found = warnings(Module("m", source, Options(), "In[7]"))
    assert len(found) == 2
    assert "before: msleep() may sleep" in found[0]
    assert "In[7]:4:" in found[0]
    assert "after: this loop has no end" in found[1]
    assert "In[7]:10:" in found[1]


OOPS = """\
[   15.646260] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   15.648558] RIP: 0010:handler_pre+0x25/0x35 [bad]
[   15.659690] Call Trace:
[   15.660164]  <TASK>
[   15.660289][  T115]  kprobe_ftrace_handler+0x108/0x1b0
[   15.660949]  ? kernel_clone+0x1/0x430
[   15.661025]  kernel_clone+0x5/0x430
[   15.661700] RIP: 0033:0x7f6301e0b3b8
[   15.675987] Modules linked in: bad(OE) overlay 9p
[   15.676000] RIP: 0010:handler_pre+0x25/0x35 [bad]
"""


def test_an_oops_is_frames_without_guesses() -> None:
    assert oops.why(OOPS) == "BUG: kernel NULL pointer dereference, address: 0000000000000008"
    assert oops.frames(OOPS) == [
        oops.Frame("handler_pre", 0x25, "bad"),
        oops.Frame("kprobe_ftrace_handler", 0x108),
        oops.Frame("kernel_clone", 0x5),
    ]


def test_a_second_stack_is_not_the_first_ones_end() -> None:
    words = OOPS.replace("RIP: 0033", "</TASK>\n[   15.7]  do_exit+0x9/0x90\n[   15.8] RIP: 0033")
    assert oops.frames(words) == oops.frames(OOPS)


def test_no_last_words_are_no_frames() -> None:
    assert oops.frames("") == []
    assert oops.why("all is well") == ""


def test_of_an_oops_a_reader_sees_why_and_where() -> None:
    words = OOPS.replace(
        "[   15.648558] RIP",
        """\
[   15.646931] #PF: supervisor write access in kernel mode
[   15.647002] #PF: error_code(0x0002) - not-present page
[   15.647034] PGD 1fe63067 P4D 1fe63067 PUD 1fe64067 PMD 0
[   15.647274] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI
[   15.648025] CPU: 0 UID: 0 PID: 115 Comm: bash Tainted: G           OE      6.12.1 #1
[   15.648424] Hardware name: QEMU Standard PC (Q35 + ICH9, 2009)
[   15.648558] RIP""",
    ).replace(
        "[   15.659690] Call",
        """\
[   15.649169] Code: 0f 1f 44 00 00
[   15.649477] RSP: 0018:ffffc9000008bdf8 EFLAGS: 00000046
[   15.650169] RAX: ffff88801fb94200 RBX: ffff88801e436040 RCX: 0000000000000000
[   15.651169] R10: 0000000000000000 R11: 0000000000000000 R12: 0000000000000000
[   15.652169] FS:  0000000000000000(0000) GS:ffff88801fa00000(0000) knlGS:0000000000000000
[   15.653169] CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
[   15.654169] CR2: 0000000000000008 CR3: 000000001e0a2000 CR4: 0000000000750ef0
[   15.659690] Call""",
    )
    lines = console.excerpt(words).splitlines()
    told = [re.sub(r"^(?:\[[^\]]*\]\s*)*", "", line) for line in lines]
    assert told == [
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "#PF: supervisor write access in kernel mode",
        "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "CPU: 0 UID: 0 PID: 115 Comm: bash Tainted: G           OE      6.12.1 #1",
        "RIP: 0010:handler_pre+0x25/0x35 [bad]",
        "kprobe_ftrace_handler+0x108/0x1b0",
        "kernel_clone+0x5/0x430",
        "RIP: 0010:handler_pre+0x25/0x35 [bad]",
    ]
    assert console.excerpt("ssh: connect to host h: No route\nmore") == (
        "ssh: connect to host h: No route\nmore"
    )
