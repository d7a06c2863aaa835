# SPDX-License-Identifier: MIT
"""Lesson 06: counting and histograms in the kernel."""

from __future__ import annotations

from typing import Any

from ..judging import Hint, exercise, need, places, the_run


@exercise("06.1", "a number of calls")
def slow_ones(answer: Any, latencies: Any) -> None:
    table = the_run(latencies).aggregates["latency"]
    random = table[table.file == "urandom"]
    most = random["count"].max()
    fullest = random.low[random["count"] == most]  # how fast that is, is the machine's affair
    number = int(answer)
    if number in {int(random["count"][random.low >= low].sum()) for low in fullest}:
        return
    slower = {int(table["count"][table.low >= low].sum()) for low in fullest}
    need(number not in slower, "those are the zeros' too")
    need(number not in {int((random.low >= low).sum()) for low in fullest},
         "those are buckets, not calls")  # fmt: skip
    need(number != most, "those are in the fullest bucket; the slower ones are asked for as well")
    raise Hint("of urandom's rows, find the one with the largest count; add up the count of those "
               "whose low is at least as large as its low")  # fmt: skip


@exercise("06.2", "the run of your probe")
def bytes_written(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_write" in places(run), "this run did not stop at vfs_write")
    need(run.stats.rows == 0, "there are rows: the kernel is to add up, so without emit")
    need(run.aggregates, "there is no table: which word adds up?")
    table = next(iter(run.aggregates.values()))
    need("by" in table.columns, "the key is to be called by")
    need("value" in table.columns, "that counts calls; the bytes are to be added up")
    need(set(table.by) >= {"head", "sh"}, "both programs of that command write: sh and head")
    written = dict(zip(table.by, table.value, strict=True))
    need(written["head"] == 5000 and written["sh"] == 6, "5,000 bytes by head and 6 by sh are "
         "written by that command: is something else added up, or everybody's writes?")  # fmt: skip


@exercise("06.3", "the run of your probe")
def enough_room(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_read" in places(run), "this run did not stop at vfs_read")
    need(run.stats.hits >= 20_000, "fewer hits than that dd has blocks")
    need(not run.stats.sampled and not run.stats.filtered, "leave nothing out: all rows are wanted")
    need(run.stats.rows > 0, "there are no rows: with emit each of them has to find room")
    need(run.stats.dropped == 0, f"{run.stats.dropped} rows found no room: more of it")
    need(run.plan.probe.options.buffer < 8 << 20, "that is as much as it has without --buffer")
