# SPDX-License-Identifier: MIT
"""Names near to the one that was typed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_MOST = 3


def similar(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of ``known`` that look like ``name``, or begin with it, nearest first."""
    letters = set(name)
    candidates = [
        other
        for other in known
        if abs(len(other) - len(name)) <= 2 and len(letters.symmetric_difference(other)) <= 3
    ]
    close = difflib.get_close_matches(name, candidates, _MOST, 0.8)
    if close or len(name) < 3:
        return close
    return sorted((other for other in known if other.startswith(name)), key=len)[:_MOST]


def glob_near(name: str) -> str:
    """Return a shell pattern for the family of ``name``: ``vfs_*`` for ``vfs_raed``."""
    plain = name.lstrip("_")
    word = re.match(r"[A-Za-z0-9]+_", plain)
    family = word[0] if word else re.sub(r"\W.*", "", plain)[:3]
    return ("*" if plain != name else "") + family + "*"
