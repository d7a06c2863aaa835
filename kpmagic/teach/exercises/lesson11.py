# SPDX-License-Identifier: MIT
"""Lesson 11: what probing costs."""

from __future__ import annotations

from typing import Any

from ..judging import Hint, exercise, need, places, the_run


@exercise("11.1", "a number of times")
def times(answer: Any, costs: Any) -> None:
    took = dict(zip(costs.probe, costs.ns_per_call, strict=True))
    right = took["emit(kstack())"] / took["an unrelated probe"]
    if abs(float(answer) - right) < 0.1 * right:
        return
    need(abs(float(answer) - 1 / right) > 0.05, "the other way round")
    raise Hint("one time divided by the other")


@exercise("11.2", "the run of your probe")
def cheaper(answer: Any) -> None:
    run = the_run(answer)
    need(any("getppid" in place for place in places(run)), "this run did not stop at sys_getppid")
    need("stack" in run.df().columns, "there is no column stack")
    need(run.stats.hits >= 20_000, "fewer hits than that program has calls")
    need(run.stats.sampled > 0, "nothing was sampled out: which option takes one in N?")
    need(150 <= run.stats.rows <= 250, "that is not one in a hundred")
