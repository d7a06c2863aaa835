# SPDX-License-Identifier: MIT
"""skip_function(v) and set_retval(v): where they may stand, and whether v fits."""

from __future__ import annotations

import errno
import re
from typing import Any

from kpmagic.analysis.column import Expressions
from kpmagic.analysis.diagnosis import Diagnosis
from kpmagic.cell.body import REPLACE, SKIP, Argument, Call
from kpmagic.cell.handler import Column
from kpmagic.model import Plan, Site
from kpmagic.record import CType

COLUMN = "injected"
MAX_ERRNO = 4095  # linux/err.h
NO_OVERRIDE = (
    "with bpf only a kernel with CONFIG_BPF_KPROBE_OVERRIDE lets a handler do that, and kpmagic "
    "does it as a module on every kernel"
)
_NUMBER = re.compile(r"-?\s*(0[xX][0-9a-fA-F]+|\d+)(?:[uUlL]*)")
_ERRNO = re.compile(r"-\s*(E[A-Z0-9]+)")
_UNSIGNED = re.compile(r"\b(unsigned|bool|_Bool|size_t|__?u\d+|u\d+|uint\d+_t|__poll_t)\b")

Found = dict[str, Any]


def check_place(plan: Plan, site: Site, call: Call, section: str, diagnosis: Diagnosis) -> None:
    """Refuse an injection that cannot be, or that was not allowed. Raises CellError."""
    options, kind = plan.probe.options, plan.probe.kind
    wrong = hint = ""
    if call.word == SKIP and kind == "kretprobe":
        wrong = f"{SKIP}() is for a function's entry: at its return it has run already"
        hint = f"{REPLACE}(v) replaces what it returns"
    elif call.word == REPLACE and kind == "kprobe":
        wrong = f"{REPLACE}() is for return probes"
        hint = f"%%kretprobe, or {SKIP}(v): the function is not run at all"
    elif section == "post":
        wrong = f"{SKIP}() comes too late after the probed instruction"
        hint = "put it above ---post---"
    elif site.offset:
        wrong = f"{SKIP}() needs the function's entry: {site.symbol}+{site.offset:#x} is inside"
        hint = f"%%kprobe {site.symbol}"
    elif options.backend != "kmod":
        wrong, hint = f"{call.word}() needs --backend kmod", NO_OVERRIDE
    elif not options.inject:
        wrong = f"{call.word}() changes what the kernel does: that is off"
        hint = "--inject allows it; --times N, --probability P, --pid and --follow limit it"
    if wrong:
        diagnosis.fail(call.start, wrong, hint)


def value_of(
    site: Site, call: Call, pairs: list[tuple[Argument, Found]], expressions: Expressions,
    diagnosis: Diagnosis,
) -> Column:
    """Return the first argument as a column. Raises CellError for a value that does not fit."""
    returns = site.function.returns if site.function is not None else "long"
    if not pairs or pairs[0][0].name:
        diagnosis.fail(call.start, f"{call.word}() needs a value to be returned",
                       f"{call.word}(v), and columns behind it: {call.word}(v, a = expr); "
                       "0 where nothing is returned")  # fmt: skip
    argument, found = pairs[0]
    if returns == "void" and _constant(expressions.text(argument)) != 0:
        diagnosis.fail(argument.start, f"{site.symbol} returns nothing", f"{call.word}(0)")
    why = _misfit(expressions.text(argument), found, returns, _size(site))
    if why:
        diagnosis.fail(argument.start, f"{site.symbol} returns '{returns}': {why}",
                       f"cast it where that is what you mean: ({returns})…")  # fmt: skip
    column = expressions.column(COLUMN, argument, found)
    if column.form != "value":
        diagnosis.fail(argument.start, "a number is needed, or a pointer's value")
    return Column(COLUMN, CType("int", 8, True, "long"), "value", f"(long)({column.code})")


def _size(site: Site) -> int:
    return (site.function.returns_size if site.function is not None else 0) or 8


def _misfit(text: str, found: Found, returns: str, size: int) -> str:
    """Return why a value does not fit a type of ``size`` bytes, or ``""``."""
    constant = _constant(text)
    about = found["type"]
    is_pointer = returns.rstrip().endswith("*")
    if constant is None:
        if is_pointer and about["kind"] != "pointer" and "*)" not in text:
            return f"'{about['name']}' is no pointer"
        return f"'{about['name']}' is wider" if about["size"] > size else ""
    if is_pointer:
        fits = -MAX_ERRNO <= constant <= 0
        return "" if fits else f"{constant} is neither NULL nor an error pointer"
    if returns in ("bool", "_Bool"):
        low, high = 0, 1
    elif _UNSIGNED.search(returns):
        low, high = 0, (1 << 8 * size) - 1
    else:
        low, high = -(1 << 8 * size - 1), (1 << 8 * size - 1) - 1
    return "" if low <= constant <= high else f"{constant} does not fit ({low} to {high})"


def _constant(text: str) -> int | None:
    """Return the value of a number or of an error's name (``-EIO``), None for anything else."""
    text = text.strip().removeprefix("(").removesuffix(")").strip()
    if name := _ERRNO.fullmatch(text):
        return -getattr(errno, name[1]) if hasattr(errno, name[1]) else None
    if number := _NUMBER.fullmatch(text):
        digits = number[1]
        octal = digits.startswith("0") and digits.isdigit() and len(digits) > 1
        value = int(digits, 8 if octal else 0)
        return -value if text.startswith("-") else value
    return None
