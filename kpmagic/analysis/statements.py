# SPDX-License-Identifier: MIT
"""emit(), count() … hist() of a body → rows and aggregations, with the C between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kpmagic.analysis.column import Expressions
from kpmagic.analysis.diagnosis import Diagnosis
from kpmagic.analysis.injection import check_place, value_of
from kpmagic.cell.aggregations import Aggregations
from kpmagic.cell.body import INJECTIONS, Argument, Call
from kpmagic.cell.handler import Add, Column, Emit, Inject, Piece
from kpmagic.cell.names import column_name, member_name
from kpmagic.cell.scope import FIXED_COLUMNS, SAME_AS_FIXED, in_scope
from kpmagic.cell.text import widen
from kpmagic.errors import CellError
from kpmagic.layout import c_name, record, record_size
from kpmagic.model import LeftOut
from kpmagic.record import CType

MAX_COLUMNS = 128
MAX_ROW = 1 << 16  # bytes; agent/arguments.py: MAX_RECORD
# which section of a body with two wrote a row
HANDLER = CType("enum", 1, False, "handler", enumerators={0: "pre", 1: "post"})
DEPTH = 2  # structs in structs that become columns when nothing else is said


class Statements:
    """One site's calls of kpmagic's words; the first ``emit`` of them writes row ``rows``.

    ``left_out`` are members that are no columns, of structs and of what a wildcard matched.
    """

    def __init__(
        self,
        expressions: Expressions,
        diagnosis: Diagnosis,
        rows: int,
        aggregations: Aggregations,
        section: str = "",
    ) -> None:
        self._expressions = expressions
        self._diagnosis = diagnosis
        self._rows = rows
        self._aggregations = aggregations
        self._section = section
        self.left_out: list[LeftOut] = []

    def pieces(self, seen: dict[int, list[dict[str, Any]]]) -> list[Piece]:
        """Return the body; ``seen`` is what clang knows of each call's arguments."""
        section = self._expressions.marked.body
        pieces: list[Piece] = []
        at = section.start
        for number, call in enumerate(self._expressions.marked.calls):
            start, end = section.forward(call.start), section.forward(call.end)
            if number not in seen:
                self._diagnosis.fail(call.start, f"{call.word}() stands where it is never run")
            pieces += (self._expressions.code(at, start), self._call(call, seen[number]))
            at = end
        pieces.append(self._expressions.code(at, section.end))
        return pieces

    def _call(self, call: Call, found: list[dict[str, Any]]) -> Piece:
        lines = self._expressions.marked.body.body.text.count("\n", call.start, call.end)
        if len(found) != len(call.arguments):
            self._diagnosis.fail(
                call.start,
                f"with the values of -D {call.word}() gets {len(found)} arguments, "
                f"not {len(call.arguments)}",
                "put parentheses around a value with a comma in it",
            )
        pairs = list(zip(call.arguments, found, strict=True))
        if call.word == "emit":
            emit = Emit(self._rows, tuple(self._columns(call, pairs, self._own())), lines)
            self._rows += 1
            return emit
        if call.word in INJECTIONS:
            return self._inject(call, pairs, lines)
        return self._add(call, pairs, lines)

    def _own(self) -> list[Column]:
        """Return the column that says which section of the body wrote a row, if it has two."""
        number = str(int(self._section == "post"))
        return [Column(HANDLER.name, HANDLER, "value", number)] if self._section else []

    def _inject(
        self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]], lines: int
    ) -> Inject:
        plan, site = self._expressions.plan, self._expressions.site
        check_place(plan, site, call, self._section, self._diagnosis)
        value = value_of(site, call, pairs, self._expressions, self._diagnosis)
        first = [*self._own(), replace(value, code="kp_hit->value")]
        columns = self._columns(call, pairs[1:], first)
        self._rows += 1
        return Inject(self._rows - 1, tuple(columns), lines, value.code)

    def _columns(
        self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]], first: list[Column]
    ) -> list[Column]:
        columns = list(first)
        plan, site = self._expressions.plan, self._expressions.site
        fixed = set(SAME_AS_FIXED) & in_scope(plan, site).keys() - dict(plan.probe.options.defines)
        wild = [each.wild for each in site.chosen] if plan.probe.options.fields else []
        for number, (argument, found) in enumerate(pairs, 1):
            text = self._expressions.text(argument)
            if text in fixed and argument.name in ("", text):
                continue  # the same value is in every row already
            name = self._name(argument, found, number, columns)
            try:
                columns += self._of(name, argument, found)
            except CellError as error:
                if not any(wild[number - 1 : number]):
                    raise
                self.left_out.append(LeftOut(name, f"no column ({error.message})"))
        self._check(call, columns)
        return columns

    def _of(self, name: str, argument: Argument, found: dict[str, Any]) -> list[Column]:
        """Return an argument's column; a struct's has one for each of its members."""
        if "members" not in found:
            return [self._expressions.column(name, argument, found)]
        depth = self._expressions.plan.probe.options.depth or DEPTH
        columns, left_out = self._expressions.members(name, argument, found, depth)
        if not columns:
            self._diagnosis.fail(
                argument.whole, f"'{found['type']['name']}' has no member that can be a column"
            )
        self.left_out += left_out
        return columns

    def _name(
        self, argument: Argument, found: dict[str, Any], number: int, columns: list[Column]
    ) -> str:
        """Return what an argument's column is called. Raises CellError."""
        taken = {*FIXED_COLUMNS, *(column.name for column in columns)}
        text = self._expressions.text(argument)
        if argument.name and argument.name in taken:
            always = argument.name in FIXED_COLUMNS
            self._diagnosis.fail(
                argument.whole,
                f"a column '{argument.name}' is " + ("always there" if always else "named twice"),
                f"choose another name, such as my_{argument.name}",
            )
        if self._expressions.plan.probe.body is None and not text.isidentifier():
            text = member_name(text)
            if "." in text:
                return text
        plain = "errno" if found["form"] == "errno" else text
        return argument.name or column_name(plain, taken, number)

    def _check(self, call: Call, columns: list[Column]) -> None:
        """Refuse what no record can hold."""
        own = self._expressions.plan.probe.body is None
        if len(columns) > MAX_COLUMNS:
            few = "--fields 'p.pid,p.se.*'" if own else "emit(p->pid, p->comm)"
            self._diagnosis.fail(
                call.start,
                f"{len(columns)} columns: a row has at most {MAX_COLUMNS}",
                f"--depth 1 takes a struct's own members only; or name some: {few}",
            )
        size = record_size([record(0, ((column.name, column.type) for column in columns))])
        if size > MAX_ROW:
            self._diagnosis.fail(
                call.start,
                f"a row of {size:,} bytes: it has room for {MAX_ROW:,}",
                "fewer or shorter texts: str(p, 64)",
            )
        names = [c_name(column.name) for column in columns]
        twice = next(
            (c.name for c, n in zip(columns, names, strict=True) if names.count(n) > 1), ""
        )
        if twice:
            self._diagnosis.fail(
                call.start, f"a column '{twice}' is named twice", "name it: emit(other = …)"
            )

    def _add(self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]], lines: int) -> Add:
        keys = self._expressions.keys(
            call, [pair for pair in pairs if pair[0].name not in ("", "label")]
        )
        values = [(argument, found) for argument, found in pairs if not argument.name]
        numbers = [self._expressions.parsed(found) for _, found in values]
        value = self._expressions.column("value", *values[0]) if values else None
        label = next((self._expressions.text(a) for a, _ in pairs if a.name == "label"), "")
        text = " ".join(self._expressions.marked.body.body.text[call.start : call.end].split())
        try:
            aggregate = self._aggregations.add(
                call.word,
                widen(text),
                widen(label),
                numbers,
                value,
                keys,
            )
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            self._diagnosis.fail(call.start, message, hint)
        return Add(aggregate, tuple(keys), value if call.word != "count" else None, lines)
