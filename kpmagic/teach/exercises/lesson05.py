# SPDX-License-Identifier: MIT
"""Lesson 05: any instruction."""

from __future__ import annotations

from typing import Any

from ..judging import exercise, is_value, need, the_run


@exercise("05.1", "the number of a byte")
def breakpoint_byte(answer: Any) -> None:
    number = int(answer, 0) if isinstance(answer, str) else int(answer)
    need(0 <= number <= 255, "a byte lies between 0 and 255")
    need(not is_value("05.1", number, "829b3951141c96b0"), "that is the call that ftrace writes")
    need(not is_value("05.1", number, "0c44250d7c4e89f6"), "that is the jump to a detour")
    need(is_value("05.1", number, "45d6e6dac8bb377c"), "the bytes in [ ] were written")


@exercise("05.2", "the run of your probe")
def middle(answer: Any) -> None:
    run = the_run(answer)
    site = run.plan.sites[0]
    need(site.symbol == "vfs_write", "this run did not stop in vfs_write")
    need(site.offset > 0, "that is the entry: a place in the middle is vfs_write+0x…")
    need(run.stats.hits >= 23, "fewer hits than that dd writes blocks: does every call pass there?")
