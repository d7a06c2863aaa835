# SPDX-License-Identifier: MIT
"""Lesson 12: kprobes beside other tools."""

from __future__ import annotations

from typing import Any

from ..judging import exercise, is_value, need, places, the_run


@exercise("12.1", "a name, as text")
def only_entries(answer: Any) -> None:
    need(isinstance(answer, str), "a name is text: put it in quotes")
    need(is_value("12.1", answer, "58912c7d638dcab5"), "the table has a column where")


@exercise("12.2", "the run of your probe")
def translated(answer: Any) -> None:
    run = the_run(answer)
    need("vfs_write" in places(run), "this run did not stop at vfs_write")
    need(run.aggregates, "there is no table: which word adds up?")
    table = next(iter(run.aggregates.values()))
    need("value" in table.columns, "that is no sum")
    need(any(table[name].eq("head").any() for name in table.columns[:-1]), "no key is the program")
    need(5000 in set(table.value), "the sum of head's bytes is not in it: arg2 is the third")
