# SPDX-License-Identifier: MIT
"""Lesson 07: the slow path of a program."""

from __future__ import annotations

from typing import Any

from ..judging import Hint, exercise, need, places, the_run


@exercise("07.1", "a number of times")
def opened_lock(answer: Any, opened: Any) -> None:
    table = the_run(opened).aggregates["opened"]
    counts = dict(zip(table.file, table["count"], strict=True))
    need(int(answer) != counts["/tmp/report.ignored"], "that is the list of ignored words")
    need(int(answer) == counts["/tmp/report.lock"], "which row has that file?")


@exercise("07.2", "a share from 0 to 1")
def share_of_sleep(answer: Any, calls: Any) -> None:
    table = the_run(calls).aggregates["microseconds"]
    share = float(answer)
    need(0 < share < 1, "a share lies between 0 and 1")
    sleep = table.value[table.by.str.contains("nanosleep")].sum() / table.value.sum()
    if abs(share - sleep) < 0.01:
        return
    counts = calls.aggregates["calls"]
    often = counts["count"][counts.by.str.contains("nanosleep")].sum() / counts["count"].sum()
    need(abs(share - often) > 0.005, "that is the share of the calls; the time is asked for")
    raise Hint("the time of the one, divided by the time of all")


@exercise("07.3", "the run of your probe")
def programs(answer: Any) -> None:
    run = the_run(answer)
    need("bprm_execve" in places(run), "this run did not stop at bprm_execve")
    need(run.stats.rows > 0, "there is no row: what does emit say, and does the command run?")
    need(run.stats.rows >= 30, "fewer rows than that loop has turns")
    need(run.stats.rows <= 40, "more rows than that loop starts programs: is it only what the "
         "command caused?")  # fmt: skip
