# SPDX-License-Identifier: MIT
"""The words behind a subcommand of ``%kp``."""

from __future__ import annotations

from collections.abc import Sequence

from ..cell.syntax import suggestion
from ..errors import CellError


def one(words: Sequence[str], usage: str) -> str:
    """Return the one word there must be. Raises CellError."""
    if len(words) != 1 or not words[0].strip():
        raise CellError(f"usage: {usage}")
    return words[0]


def options_of(words: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return plain words and the values of ``--known VALUE``. Raises CellError."""
    plain: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        if not word.startswith("--"):
            plain.append(word)
            continue
        name = flag[2:]
        if name not in known:
            near = suggestion(flag, [f"--{each}" for each in known])
            raise CellError(f"no option {flag!r} here", hint=near)
        if name in options:
            raise CellError(f"{flag} is given twice")
        value = value if equals else next(left, "")
        if not value:
            raise CellError(f"{flag} needs a value")
        options[name] = value
    return plain, options
