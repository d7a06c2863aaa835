# SPDX-License-Identifier: MIT
"""A body made into a C function that clang can parse, with the way back to the user's text.

``emit(a = x)`` becomes ``__kp(0, x)``: clang sees an ordinary call, and its arguments' types.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from kpmagic.cell import expansion
from kpmagic.cell.body import STATEMENTS, Body, Call, scan, scan_expression
from kpmagic.cell.scope import in_scope, parameters
from kpmagic.cell.text import Edit, apply, narrow
from kpmagic.model import Plan, Probe, Site

FUNCTION = "kp_body"
_PROLOGUE = (
    "void __kp(int, ...); const char *__kp_str(const volatile void *, ...);"
    " const char *__kp_user_str(const volatile void *, ...);"
    " const char *__kp_errno_name(long);"
    " const void *__kp_kstack(); const void *__kp_ustack();\n"
)


@dataclass(frozen=True)
class Section:
    """A stretch of the user's text inside the parsed one, which begins at ``start``.

    ``edits`` made the one from the other. ``names`` are those that the parsed one mentions.
    """

    body: Body
    start: int
    text: str
    edits: tuple[Edit, ...]
    names: frozenset[str]

    @property
    def end(self) -> int:
        """Return where it ends in the parsed text."""
        return self.start + len(self.text)

    def forward(self, offset: int) -> int:
        """Return where in the parsed text an offset of the user's text lies."""
        shift = sum(len(e.text) - (e.end - e.start) for e in self.edits if e.end <= offset)
        return self.start + offset + shift

    def back(self, offset: int) -> int:
        """Return where in the user's text an offset of the parsed text lies."""
        starts = [self.forward(edit.end) for edit in self.edits]
        at = bisect.bisect_right(starts, offset)
        # what an edit has put there is where the edit is
        end = self.edits[at].start if at < len(self.edits) else len(self.body.text)
        begun = self.edits[at - 1].end - starts[at - 1] if at else -self.start
        return min(begun + offset, end)


@dataclass(frozen=True)
class Marked:
    """A whole text for clang, the user's sections in it, and the calls its numbers stand for."""

    text: str
    where: Section | None
    body: Section
    calls: tuple[Call, ...]


def mark(plan: Plan, site: Site, body: str, which: str = "") -> Marked:
    """Return the text for clang of a narrow ``body`` at one site. Raises CellError.

    What ``--where`` says is decided once, not again in the section called ``post``.
    """
    probe = plan.probe
    defines = expansion.defines_of(probe)
    scanned = scan(body, probe.body_line, probe.cell)
    declared = ", ".join(p.declaration for p in parameters(plan, site)) or "void"
    builtins = " ".join(f"{declaration};" for declaration in in_scope(plan, site).values())
    # The walk knows kpmagic's own variables from the user's by their line, SCAFFOLD_LINES at most.
    text = f"{_PROLOGUE}static void {FUNCTION}({declared}) {{ {builtins} {{\n"
    where = None
    if probe.options.where and which != "post":
        condition = scan_expression(narrow(probe.options.where), probe.cell, probe.where_at)
        text += "if (("
        where = _section(condition, len(text), defines)
        text += where.text + "\n)) ;\n"  # it may end in a comment
    section = _section(scanned, len(text), defines)
    statements = tuple(call for call in scanned.calls if call.word in STATEMENTS)
    return Marked(f"{text}{section.text}\n;}} }}\n", where, section, statements)


def with_values(body: Body, probe: Probe) -> Section:
    """Return a body as it is with the values of ``-D``, and with kpmagic's words in it."""
    defines = expansion.defines_of(probe)
    edits = expansion.edits(body, defines)
    text = apply(body.text, edits)
    return Section(body, 0, text, tuple(edits), expansion.names(body, defines))


def _section(body: Body, start: int, defines: expansion.Defines) -> Section:
    edits = expansion.edits(body, defines)
    number = 0
    for call in body.calls:
        if call.word in STATEMENTS:
            comma = ", " if call.arguments else ""
            edits.append(Edit(call.start, call.open + 1, f"__kp({number}{comma}"))
            edits += [Edit(a.whole, a.start, "") for a in call.arguments if a.name]
            number += 1
        else:
            edits.append(Edit(call.start, call.open, f"__kp_{call.word}"))
    edits.sort(key=lambda edit: edit.start)
    text = apply(body.text, edits)
    return Section(body, start, text, tuple(edits), expansion.names(body, defines))
