# SPDX-License-Identifier: MIT
"""Plan → Analysis: what each expression of the body is, asked of clang."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from kpmagic.analysis.column import Expressions
from kpmagic.analysis.diagnosis import Diagnosis
from kpmagic.analysis.statements import Statements
from kpmagic.cell.aggregations import Aggregations
from kpmagic.cell.grouping import body_of, groups, placed
from kpmagic.cell.handler import Analysis, Handler
from kpmagic.cell.marked import FUNCTION, mark
from kpmagic.cell.sections import MARK, split
from kpmagic.cell.text import Edit, narrow, widen
from kpmagic.errors import BuildError, CellError, KpmagicError, Place
from kpmagic.model import LeftOut, Plan, Probe


class Analyser(Protocol):
    """Parses a text and describes one function of it; see `compiler.worker`."""

    def analyse(self, text: str, function: str) -> dict[str, Any]:
        """Return diagnostics, edits and calls. Raises BuildError."""


def analyse(plan: Plan, compiler: Analyser) -> Analysis:
    """Return what every handler of ``plan`` is. Raises CellError and BuildError.

    Sites to which the body looks the same are analysed once. Of those that only a wildcard
    brought, the ones the body does not fit are left out, unless it fits none.
    """
    aggregations = Aggregations(plan.probe.cell)
    handlers: list[Handler] = []
    posts: list[Handler] = []
    left_out: list[LeftOut] = []
    first: KpmagicError | None = None
    rows = 0
    for numbers in groups(plan):
        try:
            handler, without = _handler(plan, numbers, rows, aggregations, compiler)
        except (CellError, BuildError) as error:
            if not all(plan.sites[number].spec.wild for number in numbers):
                raise
            first = first or error
            left_out += [LeftOut(plan.sites[n].symbol, _misfit(error)) for n in numbers]
            continue
        left_out += [each for each in without if each not in left_out]
        rows += len(handler.emits)
        handlers += placed(plan, handler)
        if handler.section:
            post, _ = _handler(plan, numbers, rows, aggregations, compiler, "post")
            rows += len(post.emits)
            posts += placed(plan, post)
    if first is not None and not handlers:
        raise first
    if plan.probe.options.inject and not any(handler.injects for handler in handlers):
        raise CellError("--inject, and nothing in the body that injects",
                        hint="skip_function(v) at an entry, set_retval(v) at a return")  # fmt: skip
    return Analysis(plan, tuple(handlers), tuple(left_out), tuple(posts))


def _misfit(error: KpmagicError) -> str:
    return f"not one that the body fits ({error.message})"


def _handler(
    plan: Plan,
    numbers: tuple[int, ...],
    rows: int,
    aggregations: Aggregations,
    compiler: Analyser,
    section: Literal["", "post"] = "",
) -> tuple[Handler, list[LeftOut]]:
    """Return a handler of sites that look the same, and members it has no columns for.

    Raises CellError and BuildError.
    """
    site = plan.sites[numbers[0]]
    before, after = _sections(plan, body_of(plan, site))
    which: Literal["", "pre", "post"] = section or ("" if after is None else "pre")
    marked = mark(plan, site, narrow((after or "") if section else before), which)
    diagnosis = Diagnosis(plan, site, marked)
    answer = compiler.analyse(widen(marked.text), FUNCTION)
    diagnosis.check(answer)
    edits = [Edit(*edit) for edit in answer["edits"]]
    expressions = Expressions(plan, site, marked, edits, diagnosis)
    seen = {found["call"]: found["arguments"] for found in answer["calls"]}
    statements = Statements(expressions, diagnosis, rows, aggregations, which)
    pieces = statements.pieces(seen)
    where = marked.where
    condition = expressions.code(where.start, where.end) if where else ""
    names = marked.body.names | (where.names if where else frozenset())
    handler = Handler(site, numbers, tuple(pieces), condition, names, section=which)
    return handler, statements.left_out


def _sections(plan: Plan, body: str) -> tuple[str, str | None]:
    """Return the body before the probed instruction, and after it. Raises CellError."""
    probe = plan.probe
    try:
        before, after = split(body)
    except ValueError as error:
        raise CellError(f"a second {MARK}", hint="there is one section after the instruction",
                        place=_line(probe, int(error.args[0]))) from None  # fmt: skip
    if after is None:
        return before, None
    place = _line(probe, before.count("\n"))
    if probe.kind == "kretprobe":
        raise CellError(f"{MARK}: no instruction is probed at a return", place=place,
                        hint="%%kprobe SYMBOL, or SYMBOL+OFFSET")  # fmt: skip
    if probe.options.backend != "kmod":
        raise CellError(f"{MARK}: only a module has a handler after the probed instruction",
                        hint="--backend kmod", place=place)  # fmt: skip
    return before, after


def _line(probe: Probe, line: int) -> Place:
    return Place(probe.body_line + line, 1, MARK, probe.cell)
