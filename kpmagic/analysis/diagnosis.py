# SPDX-License-Identifier: MIT
"""What is wrong with a body, at its place in the cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from kpmagic.cell.body import NO_VALUE
from kpmagic.cell.marked import Marked
from kpmagic.cell.scope import in_scope, parameters
from kpmagic.cell.text import place_of, widen
from kpmagic.errors import BuildError, CellError, KpmagicError, Place
from kpmagic.model import Plan, Site

_ERROR = 3  # libclang: CXDiagnostic_Error


@dataclass(frozen=True)
class Diagnosis:
    """Says of one site's body what is wrong, and where."""

    plan: Plan
    site: Site
    marked: Marked

    def check(self, answer: dict[str, Any]) -> None:
        """Raise what clang, or the walk over its tree, found wrong."""
        if "refused" in answer:
            offset, message, hint = answer["refused"]
            raise CellError(message, hint=hint, place=self._place(offset))
        wrong = [d for d in answer["diagnostics"] if d["severity"] >= _ERROR]
        if wrong:
            raise self._error(wrong)

    def fail(self, offset: int, message: str, hint: str = "") -> NoReturn:
        """Raise a CellError at an offset of the user's text."""
        probe = self.plan.probe
        place = place_of(self.marked.body.body.text, offset, probe.body_line, probe.cell)
        raise CellError(message, hint=hint, place=place)

    def _error(self, wrong: Sequence[dict[str, Any]]) -> KpmagicError:
        first = wrong[0]
        message = first["message"].removesuffix(" [-Wimplicit-function-declaration]")
        more = f"; {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return BuildError(
            message + more, hint=self._hint(first["message"]), place=self._place(first["offset"])
        )

    def _hint(self, message: str) -> str:
        if "undeclared function" in message or "implicit declaration" in message:
            return (
                "a handler cannot call kernel functions; it reads memory and calls kpmagic's words"
            )
        if "undeclared identifier" in message:
            names = [p.name for p in parameters(self.plan, self.site)]
            known = f"in scope here: {', '.join((*names, *in_scope(self.plan, self.site)))}"
            if not names and self.site.function is not None and self.site.offset:
                known += "\na function's parameters are known at its entry only; here use regs"
            return known
        if "'void'" in message and self.marked.calls:
            return NO_VALUE
        if "against a string literal" in message:
            return "C compares addresses; --comm NAME looks at comm, comm[0] == 'c' at a character"
        if "no member named" in message:
            return "%kp struct TYPE lists a struct's members"
        return ""

    def _place(self, offset: int) -> Place | None:
        options, probe = self.plan.probe.options, self.plan.probe
        section, where = self.marked.body, self.marked.where
        if where is not None and where.start <= offset <= where.end:
            before = widen(where.body.text[: where.back(offset)])
            column = probe.where_at + len(before) if probe.where_at else 0
            return Place(1, column, probe.line if probe.where_at else options.where, probe.cell)
        if section.start <= offset <= section.end + 1:
            return place_of(
                section.body.text,
                section.back(min(offset, section.end)),
                probe.body_line,
                probe.cell,
            )
        return None
