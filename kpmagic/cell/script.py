# SPDX-License-Identifier: MIT
"""A cell in another tracer's language → Script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CellError, Place
from ..model import Options
from .syntax import Line, options_from_keywords
from .values import probe_name

HINTS = {
    "bpftrace": "usage: %%bpftrace [options], and the script below it",
    "bcc": "usage: %%bcc [SPEC…] [options], and C in BCC's dialect below it",
}
WITH_PLACES = ("bcc",)


@dataclass(frozen=True)
class Script:
    """A script as the user wrote it, for ``tool``, from line ``body_line`` of the cell.

    ``places`` are where its functions go, for a tool whose scripts do not say.
    """

    tool: str
    text: str
    options: Options
    cell: str = "cell"
    body_line: int = 2
    places: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the run is called: by --name, or after its first probe."""
        return self.options.name or _first_probe(self) or self.tool

    def place(self, line: int, column: int = 0) -> Place:
        """Return line and column, 1-based, of the script as a place in the cell."""
        lines = self.text.split("\n")
        text = lines[line - 1].replace("\t", " ") if 1 <= line <= len(lines) else ""
        return Place(line + self.body_line - 1, column, text, self.cell)

    def place_of(self, offset: int) -> Place:
        """Return an offset of the script as a place in the cell."""
        begin = self.text.rfind("\n", 0, offset) + 1
        return self.place(self.text.count("\n", 0, offset) + 1, offset - begin + 1)


def parse_script(
    tool: str,
    line: str,
    text: str,
    *,
    cell: str = "cell",
    names: Mapping[str, object] | None = None,
) -> Script:
    """Return what a cell of ``tool`` asks for. Raises CellError."""
    parsed = Line(tool, line, text, cell, names or {})
    named = parsed.words()
    if named and tool not in WITH_PLACES:
        parsed.fail(f"{named[0].text!r} is no option", named[0].start, HINTS[tool])
    places = tuple(word.text for word in named)
    return checked(Script(tool, text, parsed.options(), cell, places=places))


def script_from_keywords(
    tool: str, text: str, keywords: Mapping[str, Any], places: Iterable[str] = ()
) -> Script:
    """Return the Script of ``kpmagic.bpftrace(text, **keywords)``. Raises CellError."""
    options = options_from_keywords(tool, keywords)
    return checked(Script(tool, text, options, "script", 1, tuple(places)))


def checked(script: Script) -> Script:
    """Return ``script`` if there is something to run in it. Raises CellError."""
    if not isinstance(script.text, str) or not script.text.strip():
        raise CellError("the script is empty", hint=HINTS[script.tool])
    if "\0" in script.text:
        line = script.text.count("\n", 0, script.text.index("\0")) + 1
        raise CellError("a NUL character in the cell", place=script.place(line))
    return script


def blanked(text: str) -> str:
    """Return a script with blanks for its comments and strings, its length kept."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL)


def _first_probe(script: Script) -> str:
    """Return the first probe of a script that is one of the kernel's, or ``""``."""
    text = " ".join(script.places) or blanked(script.text)
    for word in re.findall(r"\bk(?:ret)?probe__\w+|[\w:.*?+-]+", text):
        if ":" in word or script.places or "probe__" in word:
            try:
                return probe_name(word)
            except ValueError:
                return ""
    return ""
