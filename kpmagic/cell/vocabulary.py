# SPDX-License-Identifier: MIT
"""What kpmagic adds to C in a handler's body: how each word is written and what it means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word of the body: its name, how it is written, what it does or gives."""

    name: str
    usage: str
    meaning: str


KEYS = "one row per value of the keys, any keyword arguments"

WORDS = (
    Word("emit", "emit(a, b = expr, …)", "a row with a column for each argument; one without a "
         "name is named after its last identifier"),
    Word("count", "count(key = expr, …)", f"number of hits; {KEYS}"),
    Word("sum", "sum(v, key = expr, …)", f"sum of v; {KEYS}"),
    Word("avg", "avg(v, key = expr, …)", f"mean of v; {KEYS}"),
    Word("min", "min(v, key = expr, …)", f"smallest v; {KEYS}"),
    Word("max", "max(v, key = expr, …)", f"largest v; {KEYS}"),
    Word("hist", "hist(v, key = expr, …)", f"histogram of v by powers of two; {KEYS}"),
    Word("lhist", "lhist(v, low, high, step, key = expr, …)",
         f"histogram of v in equal steps from low to high, with what lies outside; {KEYS}"),
    Word("str", "str(p)", "the text at a kernel address, up to its NUL"),
    Word("user_str", "user_str(p)", "the text at an address of the process, up to its NUL"),
    Word("kstack", "kstack()", "the kernel's call stack, functions by name, innermost first"),
    Word("ustack", "ustack()", "the process's call stack, innermost first"),
    Word("skip_function", "skip_function(v, a = expr, …)", "with --inject: the function is not "
         "run, its caller gets v; a row with a column injected and those named"),
    Word("set_retval", "set_retval(v, a = expr, …)", "with --inject, at a return: the caller gets "
         "v; a row likewise"),
    Word("errno_name", "errno_name(v)", "a negative error number by its name: -2 is ENOENT"),
)  # fmt: skip


def help_text() -> str:
    """Return the words as a table, a line each."""
    width = max(len(word.usage) for word in WORDS)
    return "\n".join(f"  {word.usage:<{width}}  {word.meaning}" for word in WORDS)
