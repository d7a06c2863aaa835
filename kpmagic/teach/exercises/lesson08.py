# SPDX-License-Identifier: MIT
"""Lesson 08: security audit."""

from __future__ import annotations

from typing import Any

from ..judging import exercise, is_value, need, places, the_run


@exercise("08.1", "a path, as text")
def as_nobody(answer: Any) -> None:
    need(isinstance(answer, str), "a path is text: put it in quotes")
    need(answer.startswith("/"), "the full path begins with /")
    need(is_value("08.1", answer, "3d8c6ce2652c4a23"), "which row has the uid 65534?")


@exercise("08.2", "the run of your probe")
def deleted(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_unlink" in places(run), "this run did not stop at vfs_unlink")
    df = run.df()
    need("name" in df, "there is no column name")
    need(len(df) > 0, "no row: does the command run while the probe is there?")
    need({"a", "b"} <= set(df.name), "the two files of that command are not among the names: "
         "which of the parameters is the entry that goes?")  # fmt: skip


@exercise("08.3", "the run of your probe")
def bound(answer: Any) -> None:
    run = the_run(answer)
    need("inet_bind" in places(run), "this run did not stop at inet_bind")
    df = run.df()
    need("port" in df, "there is no column port")
    need(len(df) > 0, "no row: does the command run while the probe is there?")
    need(not (df.port == 0x5C11).any(), "that is the port in network byte order")
    need((df.port == 4444).any(), "the port of that command is not among them")
