# SPDX-License-Identifier: MIT
"""``-D NAME=VALUE``: the value in place of the name, before a compiler sees the body.

So what a value loads is found and made safe as what stands in the body itself, and no value is an
option of a compiler or a line of a Makefile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kpmagic.cell.body import TOKEN, Body, scan
from kpmagic.cell.text import Edit, narrow
from kpmagic.errors import CellError
from kpmagic.model import Probe

Defines = Mapping[str, str]
"""Name → what stands for it, narrow text in which no name is a define any more."""

# of two such characters side by side a compiler would make one word
_OPERATORS = frozenset("+-&|<>=*/!%.^:")


def defines_of(probe: Probe) -> Defines:
    """Return what each ``-D`` of a probe stands for. Raises CellError."""
    given = {name: checked(name, narrow(value)) for name, value in probe.options.defines}
    return {name: _whole(value, given, {name}) for name, value in given.items()}


def checked(name: str, value: str) -> str:
    """Return a value of ``-D``, narrow text, that may stand in a body. Raises CellError."""
    try:
        found = scan(value, 1, "")
    except CellError as error:
        raise CellError(f"-D {name}: {error.message}", hint=error.hint) from None
    wrong = next((token.text for token in found.tokens if token.text in ("#", "%:")), "")
    if wrong:
        raise CellError(f"-D {name}: a handler has no '{wrong}'")
    if found.calls:
        raise CellError(f"-D {name}: {found.calls[0].word}() cannot be in a define",
                        hint="the call goes into the body, its arguments into defines")  # fmt: skip
    return value


def _whole(value: str, given: Mapping[str, str], inside: set[str]) -> str:
    """Return a value without comments, and with values for the names in it; never for its own."""

    def put(match: re.Match[str]) -> str:
        word = match[0]
        if match.lastgroup == "comment":
            return " "
        if word not in given or word in inside:
            return word
        text = _whole(given[word], given, {*inside, word})
        return _apart(value[: match.start()], text, value[match.end() :])

    return TOKEN.sub(put, value).strip()


def _apart(before: str, text: str, behind: str) -> str:
    """Return ``text`` with the blanks that keep it from growing together with its neighbours."""
    left = " " * (before[-1:] in _OPERATORS and text[:1] in _OPERATORS)
    right = " " * (behind[:1] in _OPERATORS and text[-1:] in _OPERATORS)
    return left + text + right


def edits(body: Body, defines: Defines) -> list[Edit]:
    """Return what puts values in place of the names in a body; a column's own name stays."""
    columns = {a.whole for call in body.calls for a in call.arguments if a.name}
    return [
        Edit(at.start, at.end,
             _apart(body.text[: at.start], defines[at.text], body.text[at.end :]))
        for at in body.words
        if at.text in defines and at.start not in columns
    ]  # fmt: skip


def names(body: Body, defines: Defines) -> frozenset[str]:
    """Return every name that a body mentions, those in its defines' values among them."""
    values = (defines[name] for name in body.names if name in defines)
    return body.names.union(*(scan(value, 1, "").names for value in values))
