# SPDX-License-Identifier: MIT
"""Lesson 03: return probes and latency."""

from __future__ import annotations

from typing import Any

from ..judging import Hint, exercise, is_value, need, places, the_run


@exercise("03.1", "an error's name, as text")
def name_of_error(answer: Any) -> None:
    need(isinstance(answer, str), "a name is text: put it in quotes")
    need(not is_value("03.1", answer, "9f77491a475e5e3e"), "that is the other file's error")
    need(is_value("03.1", answer, "383d580dae2792f0"), "find the file, then look at its error")


@exercise("03.2", "a share from 0 to 1")
def share_of_returns(answer: Any, sleepers: Any) -> None:
    stats = the_run(sleepers).stats
    share = float(answer)
    need(0 <= share <= 1, "a share lies between 0 and 1")
    if abs(share - stats.hits / stats.entries) < 0.01:
        return
    need(abs(share - stats.unpaired / stats.entries) > 0.01, "that is the share that is missing")
    raise Hint("how many calls went in, and how many of them came back in sight?")


@exercise("03.3", "the run of your return probe")
def waiting(answer: Any) -> None:
    run = the_run(answer)
    need(run.plan.probe.kind == "kretprobe", "only a return probe knows how long it took")
    need("kernel_wait4" in places(run), "this run did not stop at kernel_wait4")
    df = run.df()
    need(len(df) > 0, "no row: does the command run while the probe is there?")
    need({"retval", "latency"} <= set(df.columns), "the columns retval and latency are asked for")
    need((df.latency >= 1_000_000_000).any(), "nobody waited as long as that command sleeps")
    need((df.retval[df.latency >= 1_000_000_000] > 0).all(), "the one that waited was interrupted")
