# SPDX-License-Identifier: MIT
"""What a bpftrace script says of its maps: their keys and what they hold, for columns' names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..cell.script import blanked

MAP = re.compile(r"@\w*")
CALL = re.compile(r"\s*=\s*(count|sum|avg|min|max|stats|hist|lhist)\s*\(")
OPEN, CLOSE = "([{", ")]}"
TEXTS = ("comm", "func", "probe", "str(", "kstack", "ustack", "ksym", "usym", "ntop", "path")


@dataclass(frozen=True)
class Map:
    """A map: the names of its keys, which of them are text, and the function it is filled by."""

    keys: tuple[str, ...] = ()
    texts: tuple[bool, ...] = ()
    function: str = ""


def maps_of(script: str) -> dict[str, Map]:
    """Return name → Map of a script, each as it is first used with all that is known of it."""
    text = blanked(script)
    found: dict[str, Map] = {}
    for match in MAP.finditer(text):
        end = match.end()
        keys: tuple[str, ...] = ()
        if text[end : end + 1] == "[":
            keys, end = _arguments(text, script, end)
        call = CALL.match(text, end)
        known = found.get(match[0], Map())
        found[match[0]] = Map(
            known.keys or column_names(keys),
            known.texts or tuple(key.startswith(TEXTS) for key in keys),
            known.function or (call[1] if call else ""),
        )
    return found


def _arguments(text: str, script: str, start: int) -> tuple[tuple[str, ...], int]:
    """Return the expressions in the brackets that open at ``start``, and where they end."""
    depth, last, parts = 0, start + 1, []
    for at in range(start, len(text)):
        if text[at] in OPEN:
            depth += 1
        elif text[at] in CLOSE:
            depth -= 1
        if depth == 0 or (depth == 1 and text[at] == ","):
            parts.append(script[last:at].strip())
            last = at + 1
        if depth == 0:
            return tuple(parts), at + 1
    return (), start


def column_names(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name for each expression: its last identifier, a second of a name with a number."""
    names: list[str] = []
    for number, key in enumerate(keys, 1):
        words = re.findall(r"[A-Za-z_]\w*", re.sub(r'"[^"]*"', "", key))
        name = words[-1] if words else f"key{number}"
        names.append(name if name not in names else f"{name}_{number}")
    return tuple(names)
