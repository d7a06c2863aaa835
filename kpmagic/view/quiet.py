# SPDX-License-Identifier: MIT
"""Why a probe has nothing to show: said of one that has ended, or has run for some seconds."""

from __future__ import annotations

from ..run import Run
from ..stats import Stats
from .table import grouped

QUIET_SECONDS = 3.0


def quiet_notes(run: Run) -> list[str]:
    """Return what there is to say, nothing where there are rows or it is too early."""
    over = run.state == "stopped" and run.stopped_by != "target-lost"
    if run.options.dry_run or not (over or run.age > QUIET_SECONDS):
        return []
    stats = run.stats
    if not stats.hits:
        return [_no_return(stats) if stats.entries else _no_hit(run)]
    if stats.filtered == stats.hits:
        return [f"no row: all {grouped(stats.hits)} hits were left out by {_filters(run)}"]
    emits = bool(run.artifact.source.layouts)
    used = stats.rows + stats.filtered + stats.sampled + stats.dropped
    if emits and not run.artifact.source.aggregates and not stats.rows and used < stats.hits:
        return [f"no row: no emit() was reached in {grouped(stats.hits - used)} hits"]
    return []


def _no_hit(run: Run) -> str:
    sites = len(run.plan.sites)
    what = "it was not" if sites == 1 else f"none of its {sites} functions was"
    by_whom = ", by nobody" if run.options.follow or run.options.pid or run.options.comm else ""
    why = "; or the compiler has inlined it at the callers you think of" if sites == 1 else ""
    sings = run.info.get("canary") and not run.remarks  # they may say that it fell silent
    fires = " (probes do fire on this machine)" if sings else ""
    return f"no hit: {what} called while probed{by_whom}{fires}{why}"


def _no_return(stats: Stats) -> str:
    if stats.entries == 1:
        return "no hit: one call has begun and was not seen to return"
    return f"no hit: {grouped(stats.entries or 0)} calls have begun, none was seen to return"


def _filters(run: Run) -> str:
    """Return the options that decide what is recorded, as typed."""
    options = run.options
    found = [
        ("--follow (not of the command or its descendants)", options.follow),
        (f"--pid {options.pid}", options.pid),
        (f"--comm {options.comm}", options.comm),
        (f"--cpu {options.cpu}", options.cpu >= 0),
        (f"--where '{options.where}'", options.where),
    ]
    return ", ".join(text for text, given in found if given) or "a filter"
