# SPDX-License-Identifier: MIT
"""Lesson 09: fault injection."""

from __future__ import annotations

import errno
from typing import Any

from ..judging import exercise, need, places, the_run


@exercise("09.1", "a number of bytes")
def bytes_missing(answer: Any, eio: Any) -> None:
    df = the_run(eio).df()
    need(int(answer) != len(df), "those are the reads; bytes are asked for")
    need(int(answer) == int(df["count"].sum()), "each row has in its column count what was asked")


@exercise("09.2", "the run of your probe")
def no_space(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_write" in places(run), "this run did not stop at vfs_write")
    need(run.stats.injected, "nothing was injected: which word makes a function fail?")
    df = run.df()
    need((df.injected == -errno.ENOSPC).all(), "that is another error than ENOSPC")
    need(df.comm.eq("head").all(), "others were hit too: only the program head is to fail")
    need(len(df) == 1, "more than one write failed")
