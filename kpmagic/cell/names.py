# SPDX-License-Identifier: MIT
"""What the columns of a row, or the keys of an aggregation, are called."""

from __future__ import annotations

import re
from collections.abc import Container

from kpmagic.cell.body import last_names
from kpmagic.cell.scope import FIXED_COLUMNS


def member_name(expression: str) -> str:
    """Return the name of a chain in the line form: ``file->f_path`` gives ``file.f_path``."""
    inner = re.fullmatch(r"\w+\((.*)\)", expression)
    return (inner[1] if inner else expression).lstrip("*").replace("->", ".")


def column_name(expression: str, taken: Container[str], number: int) -> str:
    """Return the name of a bare expression's column: its last identifier.

    A name that is taken gets its owner's in front, as often as needed
    (``prev->pid`` beside the fixed column ``pid`` is ``prev_pid``).
    """
    chain = last_names(expression) or [f"value{number}"]
    name = chain[0]
    for owner in chain[1:]:
        if name not in taken:
            return name
        name = f"{owner}_{name}"
    if name not in taken:
        return name
    alone = f"arg_{name}" if name in FIXED_COLUMNS else f"{name}_{number}"
    return alone if alone not in taken else f"{alone}_{number}"
