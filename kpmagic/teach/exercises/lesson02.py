# SPDX-License-Identifier: MIT
"""Lesson 02: what a kprobe is."""

from __future__ import annotations

import re
from typing import Any

from ..judging import Hint, exercise, need, the_run


def log_of(answer: Any) -> tuple[str, list[str]]:
    """Return a module's source and the lines it has logged."""
    run = the_run(answer)
    need("register_kprobe" in run.source, "this is no run of a module with a kprobe: %%kmodule")
    return run.source, [str(line) for line in run.df().text]


@exercise("02.1", "a number of bytes")
def how_far(answer: Any, first: Any) -> None:
    _, log = log_of(first)
    number = int(str(answer), 0)
    found = re.search(r"ip = kernel_clone\+(0x[0-9a-f]+)", "\n".join(log))
    planted = re.search(r"planted at kernel_clone\+(0x[0-9a-f]+)", "\n".join(log))
    if found is None or planted is None:
        raise Hint("this is not the run first of the lesson")
    need(number != int(planted[1], 16), "that is where it was planted, not where ip was")
    need(number == int(found[1], 16), "the lines that begin with before: name+bytes/size")


@exercise("02.2", "the run of your module")
def counter(answer: Any) -> None:
    source, log = log_of(answer)
    need("kernel_clone" in source, "this module does not probe kernel_clone")
    told = [match for line in log if (match := re.search(r"forks: (\d+)", line))]
    need(told, "no line of the log has the form 'forks: N'")
    need(len(told) == 1, "the log has more than one such line: say it when the module is removed")
    need(int(told[0][1]) >= 5, "the loop starts five programs: is each call counted?")


@exercise("02.3", "the run of your module")
def reader(answer: Any) -> None:
    source, log = log_of(answer)
    need("vfs_read" in source, "this module does not probe vfs_read")
    asked = [int(match[1]) for line in log if (match := re.search(r"asked: (\d+)", line))]
    need(asked, "no line of the log has the form 'asked: N'")
    need(len(asked) < 60, "that is more than head alone reads: is it the others' too?")
    need(max(asked) < 1 << 32, "that is an address: the third argument is in another register")
    need(any(number >= 1024 for number in asked), "none of them is large enough for what that head "
         "reads: the third argument is in another register")  # fmt: skip
