# SPDX-License-Identifier: MIT
"""Lesson 10: inside a driver and a file system."""

from __future__ import annotations

from typing import Any

from ..judging import exercise, is_value, need, places, the_run


@exercise("10.1", "the number of a sector")
def last_sector(answer: Any) -> None:
    number = int(answer)
    need(not is_value("10.1", number, "fcc054e01a35119e"), "that is how many blocks there were")
    need(not is_value("10.1", number, "2a802e10a1f9738a"), "that is in bytes; a sector has 512")
    need(is_value("10.1", number, "0b161ea445b395da"), "the last row of bios has it")


@exercise("10.2", "the run of your probe")
def opened(answer: Any) -> None:
    run = the_run(answer)
    need("ovl_open" in places(run), "this run did not stop at overlay:ovl_open")
    df = run.df()
    need("name" in df, "there is no column name")
    need(len(df) > 0, "no row: does the command run while the probe is there?")
    need((df.name == "true").any(), "the file true is not among the names: is it the file's name?")


@exercise("10.3", "the run of your probe")
def sizes(answer: Any) -> None:
    run = the_run(answer)
    need(any(place.startswith("submit_bio") for place in places(run)),
         "this run did not stop at submit_bio")  # fmt: skip
    need(run.stats.rows == 0, "there are rows: the kernel is to count, so without emit")
    need(run.aggregates, "there is no table: which word counts?")
    table = next(iter(run.aggregates.values()))
    need("bytes" in table.columns, "the key is to be called bytes")
    need("count" in table.columns, "how many requests is a count")
    need(int((table.bytes * table["count"]).sum()) >= 4 << 20, "all together they are fewer bytes "
         "than that dd writes: is bytes the size of the request, bi_iter.bi_size?")  # fmt: skip
