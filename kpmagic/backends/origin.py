# SPDX-License-Identifier: MIT
"""Where in the cell a line and column of generated C come from, as far as that is certain."""

from __future__ import annotations

import re
from dataclasses import replace

from kpmagic.backends.handlers import CELL, WHERE
from kpmagic.cell.text import narrow, widen
from kpmagic.errors import Place
from kpmagic.model import Probe, Source

_LINE = re.compile(r'#line (\d+) "([^"]*)"')
# what `compiler.expressions` puts before the user's text, and around it; no name of the user's
# begins like kpmagic's own
_BEFORE = ("KP_LOCAL ", "if (!KP_TURN) {} else ")
CALL = "({ "  # a call of one of kpmagic's words has become a statement expression
_AROUND = re.compile(r"KP_\w+\(|\(\{ ")
# a bracket, or what may hold others: a string, a character, a comment
_BRACKET = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|/\*.*?\*/|//.*|[()]')


def place(probe: Probe, source: Source, line: int, column: int = 0) -> Place:
    """Return where line and column (in bytes) of what was made of the cell come from."""
    if probe.body is None:
        return Place(1, 0, probe.line, probe.cell)
    found = {_place(probe, text, line, column) for text in _made(source).get(line, ())}
    return _agreed(probe, found, line)


def place_of_btf(probe: Probe, source: Source, line: int, column: int) -> Place | None:
    """Return the place that an entry of BPF's line_info means, None where it is not certain.

    LLVM writes ``line << 10 | column``, of columns above 1023 too, and some lines are long.
    """
    found = {
        (number, more * 1024 + column, text)
        for number, texts in _made(source).items()
        for text in texts
        for more in range(len(text) // 1024 + 1)
        if number | more == line and more * 1024 + column <= len(text)
    }
    lines = {number for number, _, _ in found}
    if probe.body is None:
        return place(probe, source, line)
    if len(lines) != 1:
        return None
    places = {_place(probe, text, number, at) for number, at, text in found}
    return _agreed(probe, places, lines.pop())


def _agreed(probe: Probe, found: set[Place], line: int) -> Place:
    """Return the only place there is, else its line: handlers may differ in it."""
    return found.pop() if len(found) == 1 else probe.place(line)


def _made(source: Source) -> dict[int, list[str]]:
    """Return what each line of the cell was made into, in each handler; narrow text."""
    made: dict[int, list[str]] = {}
    for name, text in source.files.items():
        at, file = 0, ""
        for each in text.split("\n") if name.endswith(".c") else ():
            match = _LINE.fullmatch(each)
            if match is not None:
                at, file = int(match[1]), match[2]
                continue
            if file == CELL:
                made.setdefault(at, []).append(narrow(each))
            at += 1
    return made


def _place(probe: Probe, made: str, line: int, column: int) -> Place:
    options = probe.options
    if line == 1 and options.where and made.startswith(WHERE):
        at = _column(probe, options.where, made[len(WHERE) :], column - len(WHERE))
        begin = probe.where_at - 1
        known = at and begin >= 0 and probe.line.startswith(options.where, begin)
        return replace(probe.place(1), column=begin + at if known else 0)
    number = line - probe.body_line
    lines = (probe.body or "").split("\n")
    text = lines[number] if 0 <= number < len(lines) else ""
    return replace(probe.place(line), column=_column(probe, text, made, column))


def _column(probe: Probe, cell: str, made: str, column: int) -> int:
    """Return the column, in characters, of a line of the cell; 0 where it is not certain."""
    before = narrow(cell)
    at = _at(before, made, column - 1) if 0 < column <= len(made) else None
    if at is None or at >= len(before):
        return 0
    if any(re.search(rf"\b{name}\b", before[:at]) for name, _ in probe.options.defines):
        return 0  # something of another length was put in its place
    return len(widen(before[:at])) + 1


def _at(cell: str, made: str, wanted: int) -> int | None:
    """Return the offset in ``cell`` that ``wanted`` of what was made of it comes from."""
    at = to = 0
    while True:
        put = next((text for text in _BEFORE if made.startswith(text, to)), "")
        around = None if put else _around(cell, at, made, to)
        if not put and around is None:
            if cell[at : at + 1] != made[to : to + 1]:
                return None
            if to == wanted:
                return at
            at, to = at + 1, to + 1
            continue
        end = to + len(put) if around is None else _closing(made, to)
        if end is None or wanted < end:
            return at
        behind = at if put else _closing(cell, at) if around == CALL else None
        if behind is None:
            return None  # where it ends in the cell is not known
        at, to = behind, end


def _around(cell: str, at: int, made: str, to: int) -> str | None:
    """Return what begins in ``made`` that is around the user's text, or instead of a call."""
    match = _AROUND.match(made, to)
    return None if match is None or cell.startswith(match[0], at) else match[0]


def _closing(text: str, start: int) -> int | None:
    """Return the offset behind the bracket that closes the first one, None if it is not there."""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0 and match[0] == ")":
            return match.end()
    return None
