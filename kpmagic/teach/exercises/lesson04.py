# SPDX-License-Identifier: MIT
"""Lesson 04: typed arguments and kernel structures."""

from __future__ import annotations

from typing import Any

from ..judging import exercise, is_value, need, places, the_run


@exercise("04.1", "the name of a file system, as text")
def where_fd_is(answer: Any) -> None:
    need(isinstance(answer, str), "a name is text: put it in quotes")
    need(is_value("04.1", answer, "abacc1994cc6ef8f"), "which row has the name fd?")


@exercise("04.2", "the run of your probe")
def owner(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_read" in places(run), "this run did not stop at vfs_read")
    df = run.df()
    need({"name", "owner"} <= set(df.columns), "the columns name and owner are asked for")
    need(len(df) > 0, "no row: does the command run while the probe is there?")
    need((df.name == "hostname").any(), "no row is of the file hostname: is name the file's name?")
    need(str(df.owner.dtype).startswith(("int", "uint")), "the owner is a number")
    body = run.plan.probe.body or ""
    need("uid" in body.replace("emit(uid", ""), "which member of the inode is its user?")
    need("inode" in body, "uid alone is who reads; the owner stands in the file's inode")


@exercise("04.3", "the run of your probe")
def nice(answer: Any) -> None:
    run = the_run(answer)
    need("wake_up_new_task" in places(run), "this run did not stop at wake_up_new_task")
    df = run.df()
    need("nice" in df, "there is no column nice")
    need(len(df) > 0, "no row: does the command run while the probe is there?")
    need(not (df.nice >= 100).any(), "that is the kernel's own scale, which begins at 100: "
         "a nice value of 0 is 120 there")  # fmt: skip
    need((df.nice == 5).sum() >= 2, "two processes of that command are at 5")
