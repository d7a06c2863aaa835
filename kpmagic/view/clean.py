# SPDX-License-Identifier: MIT
"""Other people's text, made fit to be shown: names of processes and files can hold anything."""

from __future__ import annotations

import html
import re

from ..terminal import CODES

# control characters, what changes the direction of text (UAX 9), what has no width, lone surrogates
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# blocks whose letters run from right to left: Hebrew, Arabic and their neighbours; what was written
# of them word by word stays one piece
_RIGHT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff"
_FROM_RIGHT = re.compile(f"[{_RIGHT}]+(?:[ ._-][{_RIGHT}]+)*")
# U+200E, left-to-right mark: numbers and signs beside such words keep their places
BESIDE = "\u200e"
LONGEST = 200


def clean(text: object) -> str:
    """Return one line without terminal codes, control characters and changes of direction."""
    line = _CONTROL.sub("", CODES.sub("", str(text)))
    return _between_marks(line if len(line) <= LONGEST else line[: LONGEST - 1] + "…")


def _between_marks(line: str) -> str:
    return line if line.isascii() else _FROM_RIGHT.sub(rf"{BESIDE}\g<0>{BESIDE}", line)


def clean_text(text: str) -> str:
    """Return lines of any length, cleaned; tabs become blanks."""
    lines = (CODES.sub("", line).expandtabs() for line in text.split("\n"))
    return "\n".join(_between_marks(_CONTROL.sub("", line)) for line in lines)


def clean_lines(text: str) -> str:
    """Return ``text`` cleaned line by line."""
    return "\n".join(clean(line) for line in text.splitlines())


def escape(text: object) -> str:
    """Return ``text`` cleaned, and as HTML."""
    return html.escape(clean(text))
