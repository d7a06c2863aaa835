# SPDX-License-Identifier: MIT
"""A body in two sections: before the probed instruction and, below ``---post---``, after it."""

from __future__ import annotations

import re

MARK = "---post---"
_LINE = re.compile(rf"^[ \t]*{MARK}[ \t]*\r?$", re.M)


def split(body: str) -> tuple[str, str | None]:
    """Return both sections, each on the lines that it has in the cell; None without a second.

    Raises ValueError with the line, counted from 0, of a second ``---post---``.
    """
    found = list(_LINE.finditer(body))
    if not found:
        return body, None
    if len(found) > 1:
        raise ValueError(body.count("\n", 0, found[1].start()))
    mark = found[0]
    return body[: mark.start()], "\n" * body.count("\n", 0, mark.end()) + body[mark.end() :]


def without_mark(body: str) -> str:
    """Return a body with the line ``---post---`` left empty."""
    return _LINE.sub(lambda match: " " * len(match[0]), body)
