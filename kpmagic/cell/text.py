# SPDX-License-Identifier: MIT
"""A cell's text and its edits; one character for a byte where offsets must be the compiler's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kpmagic.errors import Place


@dataclass(frozen=True)
class Edit:
    """Put ``text`` in place of what stands between two offsets."""

    start: int
    end: int
    text: str


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return ``text`` with edits made; of several at one place the first stays outermost."""
    pieces: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += (text[at : edit.start], edit.text)
        at = edit.end
    return "".join((*pieces, text[at:]))


def narrow(text: str) -> str:
    """Return ``text`` with one character for each byte of its UTF-8; lone surrogates become ?."""
    return text.encode("utf-8", errors="replace").decode("latin-1")


def widen(text: str) -> str:
    """Undo `narrow`."""
    return text.encode("latin-1").decode("utf-8", errors="replace")


def place_of(text: str, offset: int, first_line: int, cell: str) -> Place:
    """Return where ``offset`` of a narrow ``text`` lies in the cell it is from."""
    begin = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    # a caret below it has blanks, not tabs, before it
    line = widen(text[begin : end if end >= 0 else len(text)]).replace("\t", " ")
    column = len(widen(text[begin:offset])) + 1
    return Place(first_line + text.count("\n", 0, offset), column, line, cell)
