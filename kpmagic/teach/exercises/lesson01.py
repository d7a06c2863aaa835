# SPDX-License-Identifier: MIT
"""Lesson 01: the first probe."""

from __future__ import annotations

from typing import Any

from ..judging import exercise, need, places, the_run


@exercise("01.1", "a number of bytes")
def others_than_zero(answer: Any, reads: Any) -> None:
    df = the_run(reads).df()
    read = df.retval.where(df.retval > 0, 0)
    number = int(answer)
    need(number != int(read.sum()), "that is all of it: the reads of zero are still in it")
    need(number != int(read[df.name == "zero"].sum()), "those are the bytes of zero alone")
    need(number != int((df.name != "zero").sum()), "those are calls, and bytes are asked for")
    need(number == int(read[df.name != "zero"].sum()),
         "choose the rows by their column name, then add up what vfs_read returned")  # fmt: skip


@exercise("01.2", "the run of your probe")
def hello(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_write" in places(run), "this run did not stop at vfs_write")
    need(run.plan.probe.kind == "kprobe", "a stop at the entry is a kprobe, not a kretprobe")
    df = run.df()
    need("count" in df, "there is no column count: what does emit say?")
    need(len(df) > 0, "no row: does the command run while the probe is there?")
    need((df["count"] == len("hello\n")).any(),
         "no write is as long as that text with its end of line")  # fmt: skip


@exercise("01.3", "the run of your probe")
def not_of_ten(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_read" in places(run), "this run did not stop at vfs_read")
    need(run.stats.filtered > 0, "nothing was left out in the kernel: which option decides there?")
    need(run.stats.filtered >= 1007, "fewer were left out than dd has blocks")
    need(run.stats.rows > 0, "all were left out: the condition is true for what is to stay")
    df = run.df()
    need("count" not in df or not (df["count"] == 10).any(), "reads of 10 bytes are among the rows")
