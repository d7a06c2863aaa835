# SPDX-License-Identifier: MIT
"""emit(), count() … hist() of a body → rows and aggregations, with the C between them."""

from __future__ import annotations

from typing import Any

from kpmagic.aggregations import Aggregations
from kpmagic.analysis.column import Expressions
from kpmagic.analysis.diagnosis import Diagnosis
from kpmagic.body import Argument, Call, widen
from kpmagic.handler import Add, Column, Emit, Piece
from kpmagic.names import column_name
from kpmagic.scope import FIXED_COLUMNS, SAME_AS_FIXED, in_scope

MAX_COLUMNS = 128


class Statements:
    """One site's calls of kpmagic's words; the first ``emit`` of them writes row ``rows``."""

    def __init__(
        self, expressions: Expressions, diagnosis: Diagnosis, rows: int, aggregations: Aggregations
    ) -> None:
        self._expressions = expressions
        self._diagnosis = diagnosis
        self._rows = rows
        self._aggregations = aggregations

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
        pairs = list(zip(call.arguments, found, strict=True))
        if call.word == "emit":
            emit = Emit(self._rows, tuple(self._columns(call, pairs)), lines)
            self._rows += 1
            return emit
        return self._add(call, pairs, lines)

    def _columns(self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]]) -> list[Column]:
        columns: list[Column] = []
        taken = set(FIXED_COLUMNS)
        fixed = set(SAME_AS_FIXED) & in_scope(self._expressions.plan, self._expressions.site).keys()
        for number, (argument, found) in enumerate(pairs, 1):
            text = self._expressions.text(argument)
            if text in fixed and argument.name in ("", text):
                continue  # the same value is in every row already
            if argument.name and argument.name in taken:
                always = argument.name in FIXED_COLUMNS
                self._diagnosis.fail(
                    argument.whole,
                    f"a column '{argument.name}' is "
                    + ("always there" if always else "named twice"),
                    f"choose another name, such as my_{argument.name}",
                )
            plain = "errno" if found["form"] == "errno" else text
            name = argument.name or column_name(plain, taken, number)
            taken.add(name)
            columns.append(self._expressions.column(name, argument, found))
        if len(columns) > MAX_COLUMNS:
            self._diagnosis.fail(
                call.start, f"{len(columns)} columns: a row has at most {MAX_COLUMNS}"
            )
        return columns

    def _add(self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]], lines: int) -> Add:
        keys = self._expressions.keys(
            call, [pair for pair in pairs if pair[0].name not in ("", "label")]
        )
        values = [(argument, found) for argument, found in pairs if not argument.name]
        numbers = [self._expressions.text(argument) for argument, _ in values]
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
                dict(self._expressions.plan.probe.options.defines),
            )
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            self._diagnosis.fail(call.start, message, hint)
        return Add(aggregate, tuple(keys), value if call.word != "count" else None, lines)
